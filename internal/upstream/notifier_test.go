package upstream

import "testing"

func TestBell(t *testing.T) {
	var b notifier
	woken := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	change, held := b.next(), b.nextOrWake()
	if woken(change) || woken(held) || b.next() != change {
		t.Fatal("woken without a ring, or a channel for each who waits")
	}
	b.wake()
	if woken(change) || !woken(held) {
		t.Error("who waits for a server is woken for another request, or who is held back is not")
	}
	held = b.nextOrWake()
	b.notify()
	if !woken(change) || !woken(held) {
		t.Error("a ring does not wake everybody")
	}
	b.notify() // nobody waits
	if woken(b.next()) {
		t.Error("a ring is remembered")
	}
}

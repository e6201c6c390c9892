package upstream

import "testing"

func TestNotifier(t *testing.T) {
	var b notifier
	isClosed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	changed, woken := b.next(), b.nextOrWake()
	if isClosed(changed) || isClosed(woken) || b.next() != changed {
		t.Fatal("a channel is closed without a call, or not shared")
	}
	b.wake()
	if isClosed(changed) || !isClosed(woken) {
		t.Error("wake must close only the channel of nextOrWake")
	}
	woken = b.nextOrWake()
	b.notify()
	if !isClosed(changed) || !isClosed(woken) {
		t.Error("notify must close both channels")
	}
	b.notify() // without waiting requests
	if isClosed(b.next()) {
		t.Error("a channel is closed by an earlier notify")
	}
}

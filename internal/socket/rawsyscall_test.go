//go:build linux && (amd64 || arm64) && !race

package socket

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
)

func TestNoAllocations(t *testing.T) {
	near, far := tcpPair(t)
	c, peer := New(near), New(far)
	p, q, r := []byte("a"), []byte("bc"), []byte("def")
	room := make([]byte, 7)
	if n := testing.AllocsPerRun(100, func() {
		_, one := c.Write(p)
		_, three := c.WriteTogether(p, q, r)
		_, read := io.ReadFull(peer, room)
		if one != nil || three != nil || read != nil || string(room) != "aabcdef" || !peer.IdleAlive() {
			t.Fatal(one, three, read, string(room))
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNothingBlocks checks calls on a descriptor in blocking mode. A thread that blocked in a raw
// system call would stall the scheduler.
func TestNothingBlocks(t *testing.T) {
	near, far := tcpPair(t)
	c := New(near)
	var blocking error
	if err := c.raw.Control(func(fd uintptr) { blocking = syscall.SetNonblock(int(fd), false) }); err != nil || blocking != nil {
		t.Fatal(err, blocking)
	}
	if !c.IdleAlive() {
		t.Error("not alive")
	}
	reader := start(t, c, func() {
		if n, err := c.Read(make([]byte, 10)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
	reader.waits(t)
	if _, err := far.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	<-reader.done
	_, cut := split([]int{1, 20_000, 1})
	if _, err := fill(t, c, far, cut); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

//go:build linux && (amd64 || arm64) && !race

package socket

import (
	"net"
	"sync"
	"testing"
)

// closeCounts counts the notifications of each watch.
type closeCounts struct {
	mu    sync.Mutex
	times map[int64]int
	news  chan int64
}

func newCloseCounts() *closeCounts {
	return &closeCounts{times: map[int64]int{}, news: make(chan int64, 1000)}
}

func (d *closeCounts) add(id int64) {
	d.mu.Lock()
	d.times[id]++
	d.mu.Unlock()
	d.news <- id
}

func (d *closeCounts) of(id int64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.times[id]
}

// watching returns a connection whose near end is watched.
func watching(t *testing.T, d *CloseNotifier, by *closeCounts) (near *Conn, far *net.TCPConn, id int64) {
	t.Helper()
	c, far := tcpPair(t)
	near = New(c)
	id, ok := d.Watch(near, by.add)
	if !ok || id == 0 {
		t.Fatalf("watch %d: %t", id, ok)
	}
	return near, far, id
}

func TestCloseNotifier(t *testing.T) {
	var d CloseNotifier
	defer d.Close()
	by := newCloseCounts()
	// The notification of the last pair comes after those of the others.
	settled := func() {
		t.Helper()
		_, far, id := watching(t, &d, by)
		far.Close()
		for got := range by.news {
			if got == id {
				d.Stop(id)
				return
			}
		}
	}
	f := func(what string, want int, leave func(near *Conn, far *net.TCPConn, id int64)) {
		t.Helper()
		near, far, id := watching(t, &d, by)
		leave(near, far, id)
		settled()
		if got := by.of(id); got != want {
			t.Errorf("%s: %d notifications, want %d", what, got, want)
		}
		d.Stop(id)
		near.Close()
		d.Stop(id)
	}
	f("closed by the other side", 1, func(_ *Conn, far *net.TCPConn, _ int64) { far.Close() })
	f("half closed", 1, func(_ *Conn, far *net.TCPConn, _ int64) { far.CloseWrite() })
	f("reset", 1, func(_ *Conn, far *net.TCPConn, _ int64) { far.SetLinger(0); far.Close() })
	f("nothing", 0, func(*Conn, *net.TCPConn, int64) {})
	f("sent to", 0, func(_ *Conn, far *net.TCPConn, _ int64) { far.Write([]byte("GET")) })
	f("closed with something to read", 1, func(_ *Conn, far *net.TCPConn, _ int64) { far.Write([]byte("GET")); far.Close() })
	f("closed after something that was read", 1, func(near *Conn, far *net.TCPConn, _ int64) {
		far.Write([]byte("x"))
		near.Read(make([]byte, 1))
		far.Close()
	})
	f("stopped before", 0, func(_ *Conn, far *net.TCPConn, id int64) { d.Stop(id); far.Close() })
	f("closed from here", 0, func(near *Conn, _ *net.TCPConn, _ int64) { near.Close() })
	f("watched again", 1, func(near *Conn, far *net.TCPConn, id int64) {
		d.Stop(id)
		again, ok := d.Watch(near, func(int64) { by.add(id) })
		if !ok || again == id {
			t.Errorf("watch %d after %d: %t", again, id, ok)
		}
		far.Close()
		<-by.news
		d.Stop(again)
	})
	if n := len(d.watched); n != 0 {
		t.Errorf("%d watches are left", n)
	}
}

// TestManyCloses: every connection that ends is reported, and none that stays open.
func TestManyCloses(t *testing.T) {
	var d CloseNotifier
	defer d.Close()
	by := newCloseCounts()
	leaving, staying := map[int64]*net.TCPConn{}, map[int64]*net.TCPConn{}
	for i := range 300 {
		_, far, id := watching(t, &d, by)
		if i%3 == 0 {
			staying[id] = far
		} else {
			leaving[id] = far
		}
	}
	var all sync.WaitGroup
	for _, far := range leaving {
		all.Go(func() { far.Close() })
	}
	all.Wait()
	for range leaving {
		if id := <-by.news; leaving[id] == nil || by.of(id) != 1 {
			t.Errorf("%d: %d notifications", id, by.of(id))
		}
	}
	for id := range staying {
		if by.of(id) != 0 {
			t.Errorf("%d: reported although it is open", id)
		}
	}
}

func TestCloseNotifierClose(t *testing.T) {
	var d CloseNotifier
	d.Close()
	near, _ := tcpPair(t)
	if _, ok := d.Watch(New(near), nil); ok {
		t.Error("watched after Close")
	}
	pipe, _ := net.Pipe()
	defer pipe.Close()
	var other CloseNotifier
	defer other.Close()
	if _, ok := other.Watch(New(pipe), nil); ok {
		t.Error("a pipe is watched")
	}
}

package socket

import (
	"net"
	"runtime"
	"testing"
	"weak"
)

// TestNoReferencesRemain: connections live for hours, so they must not keep buffers that were
// written or read into alive.
func TestNoReferencesRemain(t *testing.T) {
	t.Parallel()
	f := func(name string, use func(c *Conn, peer net.Conn, cut [maxPieces][]byte), sizes ...int) {
		t.Helper()
		near, far := tcpPair(t)
		c := New(near)
		traces := used(func(cut [maxPieces][]byte) { use(c, far, cut) }, sizes)
		runtime.GC()
		for i, trace := range traces {
			if trace.Value() != nil {
				t.Errorf("%s: buffer %d of %v is still referenced", name, i, sizes)
			}
		}
		runtime.KeepAlive(c)
	}
	write := func(c *Conn, peer net.Conn, cut [maxPieces][]byte) {
		total := len(cut[0]) + len(cut[1]) + len(cut[2])
		writer := start(t, c, func() {
			if n, err := c.WriteTogether(cut[0], cut[1], cut[2]); n != total || err != nil {
				t.Errorf("%d written, %v", n, err)
			}
			c.Close()
		})
		if got, err := readSlowly(peer); len(got) != total || err != nil {
			t.Errorf("%d bytes arrived, %v", len(got), err)
		}
		<-writer.done
	}
	f("write", write, 1000)
	f("write", write, 1000, 2000, 3000)
	f("write", write, 1000, maxRawBytes, 3000)
	f("write for too long", func(c *Conn, peer net.Conn, cut [maxPieces][]byte) {
		if _, err := fill(t, c, peer, cut); err == nil {
			t.Error("all was written")
		}
	}, 1000, 20_000, 3000)
	f("write for too long", func(c *Conn, peer net.Conn, cut [maxPieces][]byte) {
		if _, err := fill(t, c, peer, cut); err == nil {
			t.Error("all was written")
		}
	}, 1000, 2*maxRawBytes, 3000)
	f("read", func(c *Conn, peer net.Conn, cut [maxPieces][]byte) {
		for _, p := range cut {
			if _, err := peer.Write([]byte("abc")); err != nil {
				t.Error(err)
			}
			if n, err := c.Read(p); string(p[:n]) != "abc" || err != nil {
				t.Errorf("%q, %v", p[:n], err)
			}
		}
	}, 1000, maxRawBytes, 2*maxRawBytes)
	f("read too late", func(c *Conn, _ net.Conn, cut [maxPieces][]byte) {
		_ = c.SetReadDeadline(longAgo())
		if n, err := c.Read(cut[0]); n != 0 || err == nil {
			t.Errorf("%d bytes were read, %v", n, err)
		}
	}, 1000)
}

// used allocates buffers, passes them to use, and keeps only weak pointers.
//
//go:noinline
func used(use func(cut [maxPieces][]byte), sizes []int) (traces []weak.Pointer[byte]) {
	var cut [maxPieces][]byte
	for i, n := range sizes {
		cut[i] = make([]byte, n)
		traces = append(traces, weak.Make(&cut[i][0]))
	}
	use(cut)
	return traces
}

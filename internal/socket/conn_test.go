package socket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

func longAgo() time.Time { return time.Unix(1, 0) }

// readSlowly reads to the end, in steps of various sizes.
func readSlowly(c net.Conn) ([]byte, error) {
	var got []byte
	room := make([]byte, 200<<10)
	for {
		for _, step := range []int{1, 1021, 4 << 10, len(room)} {
			n, err := c.Read(room[:step])
			got = append(got, room[:n]...)
			if err == io.EOF {
				return got, nil
			}
			if err != nil {
				return got, err
			}
		}
	}
}

// fill writes buffers until the socket accepts no more, and returns the bytes that it accepted. The
// peer has to read at least five of them meanwhile.
func fill(t *testing.T, c conn, peer net.Conn, cut [maxPieces][]byte) (took []byte, err error) {
	t.Helper()
	writer := start(t, c, func() {
		for err == nil {
			var n int
			n, err = c.WriteTogether(cut[0], cut[1], cut[2])
			took = append(took, slices.Concat(cut[:]...)[:n]...)
		}
	})
	writer.waits(t)
	first := make([]byte, 5)
	if _, err := io.ReadFull(peer, first); err != nil {
		t.Error(err)
	}
	writer.waits(t)
	if err := c.SetWriteDeadline(longAgo()); err != nil {
		t.Error(err)
	}
	<-writer.done
	if !bytes.HasPrefix(took, first) {
		t.Errorf("the first bytes were read as %x", first)
	}
	return took[min(len(first), len(took)):], err
}

// TestBytesArrive checks that all bytes arrive in order, for any number of buffers and any speed of
// the reader.
func TestBytesArrive(t *testing.T) {
	t.Parallel()
	over(t, []kind{reference(), ours(), overPipe()}, func(t *testing.T, k kind) {
		f := func(sizes ...int) {
			t.Helper()
			whole, cut := split(sizes)
			c, peer := k.connect(t)
			var full []byte
			if k.name != overPipe().name { // no write fits into the socket buffer at once
				full, _ = fill(t, c, peer, cut)
				full = slices.Clone(full)
				_ = c.SetWriteDeadline(time.Time{})
			}
			writer := start(t, c, func() {
				n, err := 0, error(nil)
				if len(sizes) == 1 {
					n, err = c.Write(cut[0])
				} else {
					n, err = c.WriteTogether(cut[0], cut[1], cut[2])
				}
				if n != len(whole) || err != nil {
					t.Errorf("%v: %d written, %v", sizes, n, err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			writer.settles()
			got, err := readSlowly(peer)
			if err != nil || !bytes.Equal(got, slices.Concat(full, whole)) {
				t.Errorf("%v: %d bytes of %d arrived, %v", sizes, len(got), len(full)+len(whole), err)
			}
			<-writer.done

			c, peer = k.connect(t)
			writer = start(t, peer, func() {
				defer peer.Close()
				if n, err := peer.Write(whole); n != len(whole) || err != nil {
					t.Errorf("%v: the peer wrote %d, %v", sizes, n, err)
				}
			})
			got, err = readSlowly(c)
			if err != nil || !bytes.Equal(got, whole) {
				t.Errorf("%v: %d bytes were read of %d, %v", sizes, len(got), len(whole), err)
			}
			<-writer.done
		}
		f(1)
		f(4 << 10)
		f(maxRawBytes - 1)
		f(maxRawBytes)
		f(maxRawBytes + 1)
		f(1 << 20)
		f(0, 1)
		f(1, 0, 4<<10)
		f(0, 0, maxRawBytes)
		f(0, maxRawBytes+1, 0)
		f(maxRawBytes-1, 1)
		f(maxRawBytes-1, 1, 1)
		f(4<<10, 1, maxRawBytes-1-4<<10)
		f(4<<10, 4<<10, 4<<10)
		f(1<<20, maxRawBytes, 1)
		f(1, 0, 1<<20)
		f(1<<20, 1<<20, 1<<20)
	})
}

// TestEmptyBuffers: reads and writes of no bytes return at once without effect.
func TestEmptyBuffers(t *testing.T) {
	t.Parallel()
	over(t, []kind{reference(), ours()}, func(t *testing.T, k kind) {
		c, peer := k.connect(t)
		f := func(what string, n int, err error) {
			if n != 0 || err != nil {
				t.Errorf("%s: %d, %v", what, n, err)
			}
		}
		n, err := c.Write(nil)
		f("Write", n, err)
		n, err = c.WriteTogether(nil, []byte{}, nil)
		f("WriteTogether", n, err)
		n, err = c.Read(nil)
		f("Read", n, err)
		if _, err := c.WriteTogether(nil, []byte("x"), nil); err != nil {
			t.Error(err)
		}
		c.Close()
		if got, err := io.ReadAll(peer); string(got) != "x" || err != nil {
			t.Errorf("%q arrived, %v", got, err)
		}
	})
}

// TestNoEmptyWrites: empty buffers are not written to a pipe, because its reader would see them.
func TestNoEmptyWrites(t *testing.T) {
	t.Parallel()
	f := func(sizes ...int) {
		t.Helper()
		whole, cut := split(sizes)
		c, peer := overPipe().connect(t)
		writer := start(t, c, func() {
			if n, err := c.WriteTogether(cut[0], cut[1], cut[2]); n != len(whole) || err != nil {
				t.Errorf("%v: %d written, %v", sizes, n, err)
			}
		})
		got := make([]byte, len(whole))
		n, err := peer.Read(got[:sizes[0]+sizes[1]])
		m, again := peer.Read(got[n:])
		if !bytes.Equal(got, whole) || err != nil || again != nil {
			t.Errorf("%v: %d and %d bytes arrived, %v, %v", sizes, n, m, err, again)
		}
		if writer.settles() {
			t.Errorf("%v: bytes are left to read", sizes)
		}
	}
	f(0, 3, 4)
	f(3, 0, 4)
	f(3, 0, 1)
}

// TestNew checks that a Conn is returned unchanged.
func TestNew(t *testing.T) {
	t.Parallel()
	near, _ := tcpPair(t)
	c := New(near)
	if again := New(c); again != c {
		t.Error("New wrapped a Conn in another Conn")
	}
}

// TestPartialWrites checks the number of written bytes.
func TestPartialWrites(t *testing.T) {
	t.Parallel()
	over(t, []kind{reference(), ours(), overPipe()}, func(t *testing.T, k kind) {
		f := func(sizes ...int) {
			t.Helper()
			_, cut := split(sizes)
			c, peer := k.connect(t)
			took, err := fill(t, c, peer, cut)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v: %v", sizes, err)
			}
			_ = c.SetWriteDeadline(time.Time{})
			_ = peer.SetReadDeadline(time.Now().Add(time.Minute)) // so that the test ends if too many were counted
			last := start(t, c, func() {
				if n, err := c.Write([]byte("last")); n != 4 || err != nil {
					t.Errorf("%v: %d written after the deadline, %v", sizes, n, err)
				}
				c.Close()
			})
			got, err := readSlowly(peer)
			if want := append(took, "last"...); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: %d bytes arrived, but %d were counted, %v", sizes, len(got), len(want), err)
			}
			<-last.done
		}
		f(1000)
		f(maxRawBytes)
		f(1000, 0, 999)
		f(7, 16<<10, 5)
		f(maxRawBytes+1, 1, 1)
		f(4, 1<<20, 4)
	})
}

// TestWriteTogether: concurrent writes do not interleave.
func TestWriteTogether(t *testing.T) {
	t.Parallel()
	const writers, messages = 8, 30
	over(t, []kind{reference(), ours(), overPipe()}, func(t *testing.T, k kind) {
		c, peer := k.connect(t)
		body := func(writer, message int) []byte {
			return bytes.Repeat([]byte{byte(writer)}, 1+(writer*messages+message)*7919%(maxRawBytes+maxRawBytes/2))
		}
		for w := range writers {
			start(t, c, func() {
				for m := range messages {
					p := body(w, m)
					head := binary.BigEndian.AppendUint32([]byte{byte(w), byte(m)}, uint32(len(p)))
					if n, err := c.WriteTogether(head, p, []byte{'.'}); n != len(head)+len(p)+1 || err != nil {
						t.Errorf("%d written, %v", n, err)
						return
					}
				}
			})
		}
		next := [writers]byte{}
		for range writers * messages {
			var head [6]byte
			if _, err := io.ReadFull(peer, head[:]); err != nil {
				t.Fatal(err)
			}
			w := int(head[0])
			if w >= writers || head[1] != next[w] {
				t.Fatalf("message %d of writer %d", head[1], w)
			}
			want := append(body(w, int(head[1])), '.')
			if size := binary.BigEndian.Uint32(head[2:]); int(size) != len(want)-1 {
				t.Fatalf("%d bytes", size)
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("message %d of writer %d is mixed with another, %v", head[1], w, err)
			}
			next[w]++
		}
	})
}

// TestManyReaders: concurrent readers lose no bytes.
func TestManyReaders(t *testing.T) {
	t.Parallel()
	over(t, []kind{reference(), ours(), overPipe()}, func(t *testing.T, k kind) {
		c, peer := k.connect(t)
		var mu sync.Mutex
		var counts [256]int
		var readers []*task
		for i := range 6 {
			readers = append(readers, start(t, c, func() {
				room := make([]byte, 1+i*997)
				for {
					n, err := c.Read(room)
					mu.Lock()
					for _, b := range room[:n] {
						counts[b]++
					}
					mu.Unlock()
					if err != nil {
						if err != io.EOF {
							t.Error(err)
						}
						return
					}
				}
			}))
		}
		for _, r := range readers {
			r.waits(t)
		}
		sent := pattern(300_000)
		if _, err := peer.Write(sent); err != nil {
			t.Error(err)
		}
		peer.Close()
		for _, r := range readers {
			<-r.done
		}
		for _, b := range sent {
			counts[b]--
		}
		if counts != [256]int{} {
			t.Error("bytes were lost or duplicated")
		}
	})
}

// TestHalfClose: a connection can be read after CloseWrite.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	over(t, []kind{reference(), ours()}, func(t *testing.T, k kind) {
		c, peer := k.connect(t)
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(peer); len(got) > 0 || err != nil {
			t.Errorf("%q before the end, %v", got, err)
		}
		if _, err := peer.Write([]byte("abc")); err != nil {
			t.Error(err)
		}
		peer.Close()
		if got, err := io.ReadAll(c); string(got) != "abc" || err != nil {
			t.Errorf("%q after the end, %v", got, err)
		}
	})
	over(t, []kind{overPipe()}, func(t *testing.T, k kind) {
		c, peer := k.connect(t)
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if n, err := peer.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := c.Read(make([]byte, 1)); err != io.ErrClosedPipe {
			t.Errorf("CloseWrite must close the whole pipe: %d, %v", n, err)
		}
	})
}

// TestDeadlines end pending calls, and have no effect after they have been reset.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	over(t, []kind{reference(), ours(), overPipe()}, func(t *testing.T, k kind) {
		c, peer := k.connect(t)
		f := func(n int, err error) {
			t.Helper()
			failed, ok := errors.AsType[*net.OpError](err)
			if n != 0 || !ok || failed.Op != "read" || !failed.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d, %#v", n, err)
			}
		}
		one := make([]byte, 1)
		for range 2 {
			reader := start(t, c, func() { f(c.Read(one)) })
			reader.waits(t)
			_ = c.SetReadDeadline(longAgo())
			<-reader.done

			writer := start(t, peer, func() {
				if _, err := peer.Write([]byte("x")); err != nil {
					t.Error(err)
				}
			})
			if k.name != overPipe().name {
				<-writer.done
			}
			f(c.Read(one)) // although bytes are available
			_ = c.SetReadDeadline(time.Now().Add(time.Hour))
			if n, err := c.Read(one); n != 1 || one[0] != 'x' || err != nil {
				t.Errorf("after the deadline: %d %q, %v", n, one, err)
			}
			<-writer.done
			_ = c.SetReadDeadline(time.Time{})
		}
	})
}

package socket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestErrors compares errors with those of package net: types, texts and causes.
func TestErrors(t *testing.T) {
	t.Parallel()
	f := func(name, op string, cause error, do func(t *testing.T, c conn, peer *net.TCPConn) error) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := func(k kind) string {
				c, peer := k.connect(t)
				err := do(t, c, peer.(*net.TCPConn))
				failed, _ := errors.AsType[*net.OpError](err)
				switch {
				case !errors.Is(err, cause):
					t.Errorf("%s: %v, not %v", k.name, err, cause)
				case op == "" && err != cause:
					t.Errorf("%s: %#v is wrapped", k.name, err)
				case op != "" && (failed == nil || failed.Op != op && (failed.Op != "writev" || k.name == ours().name)):
					t.Errorf("%s: %#v is not of a %s", k.name, err, op)
				}
				return described(err, c)
			}
			if got, want := told(ours()), told(reference()); got != want {
				t.Errorf("%s\nin place of\n%s", got, want)
			}
		})
	}
	f("read the end", "", io.EOF, func(t *testing.T, c conn, peer *net.TCPConn) error {
		peer.Close()
		return readError(t, c)
	})
	f("read the end again", "", io.EOF, func(t *testing.T, c conn, peer *net.TCPConn) error {
		peer.Close()
		_ = readError(t, c)
		return readError(t, c)
	})
	f("read the end that comes", "", io.EOF, func(t *testing.T, c conn, peer *net.TCPConn) error {
		return meanwhile(t, c, readError, func() { peer.Close() })
	})
	f("read when closed", "read", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
		c.Close()
		return readError(t, c)
	})
	f("read nothing when closed", "read", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
		c.Close()
		_, err := c.Read(nil)
		return err
	})
	f("close while reading", "read", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
		return meanwhile(t, c, readError, func() { c.Close() })
	})
	f("close while two are reading", "read", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
		var second error
		first := meanwhile(t, c, readError, func() {
			second = meanwhile(t, c, readError, func() { c.Close() })
		})
		if described(first, c) != described(second, c) {
			t.Errorf("%v and %v", first, second)
		}
		return first
	})
	f("close before data are read", "read", net.ErrClosed, func(t *testing.T, c conn, peer *net.TCPConn) error {
		if _, err := peer.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		c.Close()
		return readError(t, c)
	})
	f("read when reset", "read", syscall.ECONNRESET, func(t *testing.T, c conn, peer *net.TCPConn) error {
		reset(t, peer)
		return readError(t, c)
	})
	f("reset while reading", "read", syscall.ECONNRESET, func(t *testing.T, c conn, peer *net.TCPConn) error {
		return meanwhile(t, c, readError, func() { reset(t, peer) })
	})
	f("read after a reset was reported", "", io.EOF, func(t *testing.T, c conn, peer *net.TCPConn) error {
		reset(t, peer)
		_ = readError(t, c)
		return readError(t, c)
	})
	f("read too late", "read", os.ErrDeadlineExceeded, func(t *testing.T, c conn, _ *net.TCPConn) error {
		_ = c.SetDeadline(longAgo())
		return readError(t, c)
	})
	f("CloseWrite when closed", "close", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
		c.Close()
		return c.CloseWrite()
	})
	f("Close when closed", "close", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
		c.Close()
		return c.Close()
	})
	f("write nothing when closed", "write", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
		c.Close()
		_, err := c.Write(nil)
		return err
	})

	for _, sizes := range [][]int{{1}, {maxRawBytes + 1}, {0, 4, 0}, {1, 2, 3}, {1, maxRawBytes, 0}, {1, 1 << 20, 3}} {
		_, cut := split(sizes)
		write := func(c conn) (int, error) {
			if len(sizes) == 1 {
				return c.Write(cut[0])
			}
			return c.WriteTogether(cut[0], cut[1], cut[2])
		}
		one := func(t *testing.T, c conn) error {
			n, err := write(c)
			if n != 0 {
				t.Errorf("%d bytes were written", n)
			}
			return err
		}
		many := func(_ *testing.T, c conn) error {
			for {
				if _, err := write(c); err != nil {
					return err
				}
			}
		}
		f := func(name string, cause error, do func(t *testing.T, c conn, peer *net.TCPConn) error) {
			f(fmt.Sprintf("%s %v", name, sizes), "write", cause, do)
		}
		f("write when closed", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
			c.Close()
			return one(t, c)
		})
		f("close while writing", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
			return meanwhile(t, c, many, func() { c.Close() })
		})
		f("close while two are writing", net.ErrClosed, func(t *testing.T, c conn, _ *net.TCPConn) error {
			var second error
			first := meanwhile(t, c, many, func() {
				second = meanwhile(t, c, many, func() { c.Close() })
			})
			if described(first, c) != described(second, c) {
				t.Errorf("%v and %v", first, second)
			}
			return first
		})
		f("write too late", os.ErrDeadlineExceeded, func(t *testing.T, c conn, _ *net.TCPConn) error {
			_ = c.SetDeadline(longAgo())
			return one(t, c)
		})
		f("write for too long", os.ErrDeadlineExceeded, func(t *testing.T, c conn, _ *net.TCPConn) error {
			return meanwhile(t, c, many, func() { _ = c.SetWriteDeadline(longAgo()) })
		})
		f("reset while writing", syscall.ECONNRESET, func(t *testing.T, c conn, peer *net.TCPConn) error {
			return meanwhile(t, c, many, func() { reset(t, peer) })
		})
		f("write when reset", syscall.EPIPE, func(t *testing.T, c conn, peer *net.TCPConn) error {
			reset(t, peer)
			_ = readError(t, c) // it consumes the error
			return one(t, c)
		})
		f("write after the end", syscall.EPIPE, func(t *testing.T, c conn, _ *net.TCPConn) error {
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			return one(t, c)
		})
	}
}

// described returns the text of an error and of all it wraps, without addresses.
func described(err error, c conn) string {
	var b strings.Builder
	for ; err != nil; err = errors.Unwrap(err) {
		text := strings.NewReplacer(c.LocalAddr().String(), "here", c.RemoteAddr().String(), "there", "writev", "write").Replace(err.Error())
		fmt.Fprintf(&b, "%T: %s", err, text)
		if e, ok := err.(net.Error); ok {
			fmt.Fprintf(&b, ", timeout %t", e.Timeout())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// readError returns the error of a read that must fail.
func readError(t *testing.T, c conn) error {
	n, err := c.Read(make([]byte, 10))
	if n != 0 || err == nil {
		t.Errorf("%d bytes were read, %v", n, err)
	}
	return err
}

// meanwhile calls happens while do is waiting.
func meanwhile(t *testing.T, c conn, do func(*testing.T, conn) error, happens func()) (err error) {
	x := start(t, c, func() { err = do(t, c) })
	x.waits(t)
	happens()
	<-x.done
	return err
}

// reset closes a connection with a reset.
func reset(t *testing.T, c *net.TCPConn) {
	if err := c.SetLinger(0); err != nil {
		t.Error(err)
	}
	c.Close()
}

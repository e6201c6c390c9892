package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestOutOfDescriptors(t *testing.T) {
	f := func(err error, want bool) {
		t.Helper()
		if got := OutOfDescriptors(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
	dial := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", errno)}
	}
	f(dial(syscall.EMFILE), true)
	f(fmt.Errorf("connect: %w", dial(syscall.ENFILE)), true)
	f(dial(syscall.ECONNREFUSED), false)
	f(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: dial(syscall.EMFILE).Error(), Name: "a", IsTemporary: true}}, true)
	f(&net.DNSError{Err: "no such host", Name: "a", IsNotFound: true}, false)
	f(io.EOF, false)
	f(nil, false)
}

// exhaustedListener fails for lack of descriptors until it is closed.
type exhaustedListener struct {
	tries  atomic.Int64
	closed chan struct{}
}

func (l *exhaustedListener) Accept() (net.Conn, error) {
	l.tries.Add(1)
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
}

func (l *exhaustedListener) Close() error   { close(l.closed); return nil }
func (l *exhaustedListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestNoDescriptorsLeft checks that the pause between failed accepts grows, and that idle
// connections are closed.
func TestNoDescriptorsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := atomic.Int64{}
		s := &Server{Handler: http.NotFoundHandler(), OnError: func(err error) {
			if OutOfDescriptors(err) {
				told.Add(1)
			}
		}}
		s.initLocked()
		here, there := net.Pipe()
		s.accept(there)
		time.Sleep(2 * newConnGrace) // it has sent nothing
		l := &exhaustedListener{closed: make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(l) }()
		if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("an idle connection: %v", err)
		}
		time.Sleep(time.Minute)
		if n := l.tries.Load(); n < 60 || n > 80 || told.Load() != n {
			t.Errorf("%d accepts in a minute, %d errors reported", n, told.Load())
		}
		l.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

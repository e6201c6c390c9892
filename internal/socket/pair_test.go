package socket

import (
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// conn is implemented by Conn and by the connection of package net that it is compared with.
type conn interface {
	net.Conn
	CloseWrite() error
	WriteTogether(p, q, r []byte) (int, error)
}

type plain struct{ *net.TCPConn }

func (c plain) WriteTogether(p, q, r []byte) (int, error) {
	buffers := net.Buffers{p, q, r}
	n, err := buffers.WriteTo(c.TCPConn)
	return int(n), err
}

// kind is a kind of connection.
type kind struct {
	name    string
	connect func(t testing.TB) (c conn, peer net.Conn)
}

func reference() kind {
	return kind{"net", func(t testing.TB) (conn, net.Conn) {
		near, far := tcpPair(t)
		return plain{near}, far
	}}
}

func ours() kind {
	return kind{"socket", func(t testing.TB) (conn, net.Conn) {
		near, far := tcpPair(t)
		return New(near), far
	}}
}

func overPipe() kind {
	return kind{"socket over a pipe", func(t testing.TB) (conn, net.Conn) {
		near, far := net.Pipe()
		t.Cleanup(func() {
			near.Close()
			far.Close()
		})
		return New(near), far
	}}
}

// over runs a test over several kinds of connections.
func over(t *testing.T, kinds []kind, f func(t *testing.T, k kind)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			f(t, k)
		})
	}
}

// tcpPair returns both ends of a loopback connection with small buffers, so that writes are
// accepted in parts.
func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	// SetReadBuffer after connecting would be too late: if the window shrinks, the kernel waits for
	// its timers.
	return loopback(t, func(_, _ string, raw syscall.RawConn) error { return raw.Control(smallBuffers) })
}

// loopback returns both ends of a loopback connection. control may set socket options.
func loopback(t testing.TB, control func(_, _ string, raw syscall.RawConn) error) (near, far *net.TCPConn) {
	t.Helper()
	l, err := (&net.ListenConfig{Control: control}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := (&net.Dialer{Control: control}).Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}

// task is a function that runs in a goroutine.
type task struct {
	id   string
	done chan struct{}
}

// start runs f, which uses c, in a goroutine.
func start(t testing.TB, c net.Conn, f func()) *task {
	x := &task{done: make(chan struct{})}
	id := make(chan string)
	go func() {
		defer close(x.done)
		header, _, _ := strings.Cut(string(stacks(false)), " [")
		id <- header
		f()
	}()
	x.id = <-id
	t.Cleanup(func() {
		c.Close()
		<-x.done
	})
	return x
}

// waits returns when the task is blocked on its connection, or on another user of it.
func (x *task) waits(t testing.TB) {
	t.Helper()
	if !x.settles() {
		t.Fatal("the task is not blocked")
	}
}

// settles returns when the task is blocked or has ended, and reports whether it is blocked.
func (x *task) settles() bool {
	for {
		select {
		case <-x.done:
			return false
		default:
		}
		_, rest, _ := strings.Cut("\n"+string(stacks(true)), "\n"+x.id+" [")
		state, _, _ := strings.Cut(rest, "]")
		for _, waiting := range []string{"IO wait", "select", "sync.Mutex.Lock", "semacquire"} {
			if strings.HasPrefix(state, waiting) {
				return true
			}
		}
		runtime.Gosched()
	}
}

func stacks(all bool) []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, all)]
}

// until returns when the condition is true.
func until(is func() bool) {
	for !is() {
		runtime.Gosched()
	}
}

// pattern returns bytes without repetitions nearby.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// split cuts buffers of the given sizes from a pattern.
func split(sizes []int) (whole []byte, cut [maxPieces][]byte) {
	total := 0
	for _, n := range sizes {
		total += n
	}
	whole = pattern(total)
	rest := whole
	for i, n := range sizes {
		cut[i], rest = rest[:n:n], rest[n:]
	}
	return whole, cut
}

//go:build unix

package http1

import (
	"net"
	"syscall"
)

// looker looks at an idle connection without taking anything from it.
type looker struct {
	raw syscall.RawConn
	*peek
}

// peek is the state of a look, made once for a connection.
type peek struct {
	at    func(fd uintptr) bool
	one   [1]byte
	quiet bool
}

func newLooker(c net.Conn) looker {
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			p := new(peek)
			p.at = p.look
			return looker{raw, p}
		}
	}
	return looker{}
}

// quiet says whether the connection stands and nothing has come over it.
func (l looker) quiet() bool {
	if l.raw == nil {
		return true
	}
	return l.raw.Read(l.at) == nil && l.peek.quiet
}

func (p *peek) look(fd uintptr) bool {
	_, _, err := syscall.Recvfrom(int(fd), p.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	p.quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	return true // whatever it is, nothing is waited for
}

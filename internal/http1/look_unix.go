//go:build unix

package http1

import (
	"net"
	"syscall"
)

// looker looks at an idle connection without taking anything from it.
type looker struct{ raw syscall.RawConn }

func newLooker(c net.Conn) looker {
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return looker{raw}
		}
	}
	return looker{}
}

// quiet says whether the connection stands and nothing has come over it.
func (l looker) quiet() bool {
	if l.raw == nil {
		return true
	}
	quiet := false
	err := l.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	})
	return quiet && err == nil
}

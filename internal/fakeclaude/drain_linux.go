package fakeclaude

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// drain waits for at most a second until the kernel has sent everything that was written, because a
// reset discards the data that it has not sent.
func drain(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	for range 1000 {
		unsent := 0
		err := raw.Control(func(fd uintptr) {
			if n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQNSD); err == nil {
				unsent = n
			}
		})
		if err != nil || unsent == 0 {
			return
		}
		time.Sleep(time.Millisecond) // the kernel does not use Clock
	}
}

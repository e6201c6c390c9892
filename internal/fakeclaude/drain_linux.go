package fakeclaude

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// drain waits until the kernel has sent all that was written, for at most a
// second: a reset throws away what it still holds back.
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
		time.Sleep(time.Millisecond) // the kernel keeps real time, not the Clock's
	}
}

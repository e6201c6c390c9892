//go:build !linux

package fakeclaude

import (
	"net"
	"time"
)

// drain gives the kernel the time to send what was written: a reset throws away
// what it still holds back.
func drain(*net.TCPConn) {
	time.Sleep(50 * time.Millisecond) // the kernel keeps real time, not the Clock's
}

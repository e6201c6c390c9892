//go:build !linux

package fakeclaude

import (
	"net"
	"time"
)

// drain gives the kernel time to send what was written, because a reset discards the data that it
// has not sent.
func drain(*net.TCPConn) {
	time.Sleep(50 * time.Millisecond) // the kernel does not use Clock
}

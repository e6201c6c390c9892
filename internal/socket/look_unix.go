//go:build unix && (!linux || !(amd64 || arm64) || race)

package socket

import "syscall"

// nothing says whether there is nothing to read, not even an end.
func nothing(fd uintptr, p []byte) bool {
	_, _, err := syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
}

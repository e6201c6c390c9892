//go:build unix && (!linux || !(amd64 || arm64) || race)

package socket

import "syscall"

// wouldBlock reports whether there is nothing to read, neither data nor an end.
func wouldBlock(fd uintptr, p []byte) bool {
	_, _, err := syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
}

// readNow reads without waiting.
func readNow(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, err := syscall.Recvfrom(int(fd), p, syscall.MSG_DONTWAIT)
	if errno, ok := err.(syscall.Errno); ok {
		if errno == syscall.EWOULDBLOCK {
			errno = syscall.EAGAIN
		}
		return 0, errno
	}
	return max(n, 0), 0
}

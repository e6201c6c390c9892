//go:build unix

package socket

import "syscall"

// smallBuffers sets small socket buffers.
func smallBuffers(fd uintptr) {
	const size = 4 << 10
	_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, size)
	_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, size)
}

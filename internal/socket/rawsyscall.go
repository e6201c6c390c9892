//go:build linux && (amd64 || arm64) && !race

package socket

import (
	"syscall"
	"unsafe"
)

// rawSyscalls reports whether reads and writes bypass the scheduler. Under the race detector, which
// has to see them, they do not.
const rawSyscalls = true

const (
	// dontWait makes a call return at once even if the descriptor has been set to blocking mode.
	dontWait = syscall.MSG_DONTWAIT
	// noSignal makes a write to a closed connection fail without SIGPIPE, which Go would ignore
	// anyway.
	noSignal = syscall.MSG_NOSIGNAL
)

// readNow reads without waiting.
func readNow(fd uintptr, p []byte) (int, syscall.Errno) { return receive(fd, p, dontWait) }

// wouldBlock reports whether there is nothing to read, neither data nor an end.
func wouldBlock(fd uintptr, p []byte) bool {
	_, err := receive(fd, p, dontWait|syscall.MSG_PEEK)
	return err == syscall.EAGAIN
}

func receive(fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(n), 0
}

// iovecs are the arguments of sendmsg, kept to avoid allocations.
type iovecs struct {
	message syscall.Msghdr
	vecs    [maxPieces]syscall.Iovec
}

// write writes as much of left as the socket buffer takes. At least one buffer must not be empty.
func (v *iovecs) write(fd uintptr, left *[maxPieces][]byte) (int, syscall.Errno) {
	count, last := 0, 0
	for i, p := range left {
		if len(p) > 0 {
			last = i
			v.vecs[count].Base = &p[0]
			v.vecs[count].SetLen(len(p))
			count++
		}
	}
	if p := left[last]; count == 1 { // the usual case, and cheaper for the kernel
		return send(fd, p)
	}
	v.message.Iov, v.message.Iovlen = &v.vecs[0], uint64(count)
	n, _, err := syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&v.message)), dontWait|noSignal)
	if err != 0 {
		return 0, err
	}
	return int(n), 0
}

func send(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), dontWait|noSignal, 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(n), 0
}

// clear drops the references to the buffers.
func (v *iovecs) clear() { v.vecs = [maxPieces]syscall.Iovec{} }

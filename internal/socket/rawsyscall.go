//go:build linux && (amd64 || arm64) && !race

package socket

import (
	"syscall"
	"unsafe"
)

// rawSyscalls says that reads and writes are made without telling the scheduler. The race detector has to see them: with it they are not.
const rawSyscalls = true

const (
	// atOnce has a call return although there is nothing to do: it must not block even where somebody has made the descriptor a blocking one.
	dontWait = syscall.MSG_DONTWAIT
	// noSignal has a write to a connection that has ended fail without SIGPIPE, which Go would only ignore.
	noSignal = syscall.MSG_NOSIGNAL
)

// readNow reads without waiting.
func readNow(fd uintptr, p []byte) (int, syscall.Errno) { return receive(fd, p, dontWait) }

// wouldBlock says whether there is nothing to read, not even an end.
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

// vector is what the kernel is told of pieces.
type iovecs struct {
	message syscall.Msghdr
	vecs    [maxPieces]syscall.Iovec
}

// write writes what it can of pieces, of which one is not empty.
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
	if p := left[last]; count == 1 { // which is most of the time, and for which the kernel has less to do
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

// clear forgets the pieces.
func (v *iovecs) clear() { v.vecs = [maxPieces]syscall.Iovec{} }

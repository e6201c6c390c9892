//go:build linux && (amd64 || arm64) && !race

package socket

import (
	"syscall"
	"unsafe"
)

// quick says that reads and writes are made without telling the scheduler. The race detector has to see them: with it they are not.
const quick = true

func read(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if err != 0 {
		return 0, err
	}
	return int(n), 0
}

// vector is what the kernel is told of pieces.
type vector [pieces]syscall.Iovec

// write writes what it can of pieces.
func (v *vector) write(fd uintptr, left *[pieces][]byte) (int, syscall.Errno) {
	count := 0
	for _, p := range left {
		if len(p) > 0 {
			v[count].Base = &p[0]
			v[count].SetLen(len(p))
			count++
		}
	}
	n, _, err := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(v)), uintptr(count))
	if err != 0 {
		return 0, err
	}
	return int(n), 0
}

func (v *vector) clear() { *v = vector{} }

// nothing says whether there is nothing to read, not even an end.
func nothing(fd uintptr, p []byte) bool {
	_, _, err := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return err == syscall.EAGAIN
}

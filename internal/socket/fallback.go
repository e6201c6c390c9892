//go:build !linux || !(amd64 || arm64) || race

package socket

import "syscall"

// rawSyscalls reports whether reads and writes bypass the scheduler. On other platforms than Linux,
// and under the race detector, which has to see them, they go through package net.
const rawSyscalls = false

type iovecs struct{}

func (iovecs) write(uintptr, *[maxPieces][]byte) (int, syscall.Errno) {
	panic("socket: package net writes here")
}

func (iovecs) clear() {}

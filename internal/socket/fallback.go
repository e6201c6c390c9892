//go:build !linux || !(amd64 || arm64) || race

package socket

import "syscall"

// rawSyscalls says that reads and writes are made without telling the scheduler. Elsewhere than on Linux package net makes them, and so it does
// for the race detector, which has to see them.
const rawSyscalls = false

type iovecs struct{}

func (iovecs) write(uintptr, *[maxPieces][]byte) (int, syscall.Errno) {
	panic("socket: package net writes here")
}

func (iovecs) clear() {}

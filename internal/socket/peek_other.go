//go:build !unix

package socket

import "syscall"

// wouldBlock cannot check here. A connection that has ended fails when it is used.
func wouldBlock(uintptr, []byte) bool { return true }

// readNow is not available on this platform: only package net reads.
func readNow(uintptr, []byte) (int, syscall.Errno) { return 0, syscall.EAGAIN }

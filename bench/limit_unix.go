//go:build unix

package main

import "syscall"

// raiseFileLimit raises the limit of open files, as much as allowed, for this process and its
// children, and returns it.
func raiseFileLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	// The runtime has raised its limit already, but children get the previous one unless it is set
	// here.
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	return uint64(limit.Cur)
}

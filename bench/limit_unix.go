//go:build unix

package main

import "syscall"

// raiseFileLimit raises the limit of open files of this process and of those it starts as far as that is allowed,
// and returns it.
func raiseFileLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	// The runtime has raised its own limit already, but children get what it was before, unless it is set here.
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	return uint64(limit.Cur)
}

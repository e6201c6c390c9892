//go:build unix

package service

import "syscall"

// descriptorLimit returns how many file descriptors this process may have open at the same time.
func descriptorLimit() (limit uint64, ok bool) {
	var in syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &in); err != nil {
		return 0, false
	}
	return uint64(in.Cur), true
}

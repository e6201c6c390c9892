//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package cli

// tryLockDirectory is not available here: a lock file is used.
func tryLockDirectory(string) (unlock func(), locked bool, err error) {
	return nil, false, errNoFileLock
}

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	lockPatience = 10 * time.Second
	lockRetry    = 10 * time.Millisecond
	// lockStale is the age from which a lock file belongs to a dead process. An edit takes
	// milliseconds.
	lockStale = time.Minute
)

// errNoFileLock reports that the file system, or the operating system, has no locks that end with
// their process.
var errNoFileLock = errors.New("no file locks here")

// lockFile makes other processes that call it for the same file wait until unlock is called. The
// operating system releases the lock of a process that dies. Without such locks, a lock file is
// used.
func lockFile(name string) (unlock func(), err error) {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(lockRetry) {
		unlock, locked, err := tryLockDirectory(filepath.Dir(name))
		if errors.Is(err, errNoFileLock) {
			unlock, locked, err = tryLockFile(name+".lock", time.Now())
		}
		switch {
		case err != nil:
			return nil, err
		case locked:
			return unlock, nil
		case time.Now().After(deadline):
			return nil, fmt.Errorf("another command has been changing %s for %s: try again", name, lockPatience)
		}
	}
}

// tryLockFile takes a lock by making a file that must not exist.
func tryLockFile(lock string, now time.Time) (unlock func(), locked bool, err error) {
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case err == nil:
		return func() { os.Remove(lock) }, true, f.Close()
	case !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrPermission): // Windows denies access to a file that is being deleted
		return nil, false, err
	}
	info, statErr := os.Stat(lock)
	if statErr == nil && now.Sub(info.ModTime()) > lockStale {
		os.Remove(lock)
		return nil, false, nil
	}
	if errors.Is(err, fs.ErrPermission) && errors.Is(statErr, fs.ErrNotExist) {
		return nil, false, err
	}
	return nil, false, nil
}

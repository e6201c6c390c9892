//go:build unix

package connect

import (
	"os"
	"syscall"
)

// keepOwner gives a new file the owner of the file that it replaces, if this process may do so.
func keepOwner(f *os.File, old string) {
	info, err := os.Stat(old)
	if err != nil {
		return
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(stat.Uid), int(stat.Gid)) // only root may, and only root needs it
	}
}

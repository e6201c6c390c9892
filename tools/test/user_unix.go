//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// unprivileged makes another user own dir if this process runs as root, and returns a function that
// makes a command run as that user. Without root the function does nothing.
func unprivileged(dir string) (func(*exec.Cmd), error) {
	if os.Geteuid() != 0 {
		return func(*exec.Cmd) {}, nil
	}
	for _, name := range [...]string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		who := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Credential: who} }, os.Chown(dir, int(uid), int(gid))
	}
	return nil, errors.New("no user to run PostgreSQL as")
}

//go:build unix

package healthcheck

import (
	"context"
	"os/exec"
	"syscall"
)

// shell prepares a command in a process group of its own, which is killed as a
// whole when ctx ends: a pipeline leaves nothing behind.
func shell(ctx context.Context, command string, _ bool) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

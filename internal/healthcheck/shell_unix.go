//go:build unix

package healthcheck

import (
	"context"
	"os/exec"
	"syscall"
)

// shell returns a command that runs in its own process group. When ctx ends, the whole group is
// killed, so that no process of a pipeline remains.
func shell(ctx context.Context, command string, _ bool) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

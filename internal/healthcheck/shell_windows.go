package healthcheck

import (
	"context"
	"os/exec"
	"strconv"
	"syscall"
)

// shell returns a command whose whole process tree is killed when ctx ends. With references
// (!NAME!), cmd.exe expands them after it has parsed the command.
func shell(ctx context.Context, command string, references bool) *exec.Cmd {
	options := "/S"
	if references {
		options = "/V:ON /S"
	}
	cmd := exec.CommandContext(ctx, "cmd.exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: `cmd.exe ` + options + ` /C "` + command + `"`}
	cmd.Cancel = func() error {
		return exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(cmd.Process.Pid)).Run()
	}
	return cmd
}

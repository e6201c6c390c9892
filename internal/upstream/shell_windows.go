package upstream

import (
	"context"
	"os/exec"
	"strconv"
	"syscall"
)

// shell prepares a command whose process tree is killed as a whole when ctx ends. With references in it, which are !NAME!, cmd.exe replaces
// them when it has parsed the command.
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

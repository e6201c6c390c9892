package cli

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

func childSignals() []os.Signal { return []os.Signal{os.Interrupt} }

// fromKeyboard reports whether the console sends the signal: it sends it to all of its processes.
func fromKeyboard(os.Signal) bool { return true }

func waitChild(cmd *exec.Cmd) (int, error) { return exitStatus(cmd, cmd.Wait()) }

func statusOf(p *os.ProcessState) int { return p.ExitCode() }

// sessionLeader returns the process that has started this one: the shell.
func sessionLeader() int { return os.Getppid() }

// detach lets a process go on without the console.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}

// isAlive reports whether a process exists.
func isAlive(pid int) bool {
	const stillActive = 259
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return false
	}
	defer windows.CloseHandle(h)
	var code uint32
	return windows.GetExitCodeProcess(h, &code) == nil && code == stillActive
}

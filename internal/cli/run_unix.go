//go:build unix

package cli

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalBase is added to the number of the signal that ended a program, as shells do.
const signalBase = 128

func childSignals() []os.Signal {
	return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP}
}

// fromKeyboard reports whether a key of the terminal sends the signal.
func fromKeyboard(s os.Signal) bool {
	return s == os.Interrupt || s == syscall.SIGQUIT || s == syscall.SIGTSTP
}

// waitChild waits for a program. If the program stops after Ctrl-Z, this process stops too: the shell
// waits for that, and continues both. SIGTSTP itself does not stop this process, because it is
// received, so that there is one way only.
func waitChild(cmd *exec.Cmd) (int, error) {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return exitStatus(cmd, cmd.Wait())
		case status.Stopped():
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			_ = syscall.Kill(cmd.Process.Pid, syscall.SIGCONT)
		case status.Signaled():
			_ = cmd.Wait() // ends the copying of its output; the program itself has been waited for
			return signalBase + int(status.Signal()), nil
		default:
			_ = cmd.Wait()
			return status.ExitStatus(), nil
		}
	}
}

// statusOf returns an exit status as shells do.
func statusOf(p *os.ProcessState) int {
	if status, ok := p.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return signalBase + int(status.Signal())
	}
	return p.ExitCode()
}

// sessionLeader returns the process whose end is the end of the terminal's session: the shell.
func sessionLeader() int {
	sid, err := unix.Getsid(0)
	if err != nil {
		return 0
	}
	return sid
}

// detach lets a process go on when the terminal's foreground group is interrupted.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// isAlive reports whether a process exists.
func isAlive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

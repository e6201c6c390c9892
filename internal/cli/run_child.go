package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/term"
)

// runChild runs a program on the same terminal, forwards signals to it, and returns its exit status.
// It does not start the program if ctx has ended, because a signal came before there was a program
// to forward it to.
func runChild(ctx context.Context, cmd *exec.Cmd) (int, error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, childSignals()...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return 0, errors.New("interrupted before the program was started")
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	defer close(done)
	shared := onTerminal(cmd)
	go func() {
		for {
			select {
			case s := <-signals:
				if shared && fromKeyboard(s) {
					continue // the terminal has sent it to the program as well
				}
				_ = cmd.Process.Signal(s) // the program may have ended
			case <-done:
				return
			}
		}
	}()
	return waitChild(cmd)
}

// onTerminal reports whether the program gets the signals of the keyboard itself: it does if it
// reads from the terminal, because it is in the same process group.
func onTerminal(cmd *exec.Cmd) bool {
	f, ok := cmd.Stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// exitStatus returns the exit status of a program that was waited for.
func exitStatus(cmd *exec.Cmd, err error) (int, error) {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return statusOf(e.ProcessState), nil
	}
	return 0, err
}

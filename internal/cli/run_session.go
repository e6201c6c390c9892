package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/connect"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const (
	// sessionVariable tells the process in the background which process to outlive: it ends with
	// that one.
	sessionVariable = "CLAUDE_CODE_LB_SESSION"
	// pidVariable has the process that serves a session, for kill.
	pidVariable = "CLAUDE_CODE_LB_PID"
	// sessionPoll is how often the background process looks whether the session is over.
	sessionPoll = 2 * time.Second
)

// session is what the background process reports on standard output, once.
type session struct {
	URL   string `json:"url"`
	Key   string `json:"key"`
	Error string `json:"error"`
}

// printSession starts a balancer in the background and prints the variables that use it.
func printSession(std service.Std, f runFlags) int {
	_, sources, err := readSources(std)
	var s session
	var pid int
	if err == nil {
		s, pid, err = startSession(f)
	}
	if err != nil {
		fmt.Fprintln(std.Err, "run:", err)
		return service.ExitError
	}
	for _, source := range sources {
		if _, ok := source.Variable(connect.BaseURL); ok && source.Place != connect.Shell && source.Place != connect.Editor {
			fmt.Fprintf(std.Err, "note: %s sets ANTHROPIC_BASE_URL, which Claude Code prefers to these variables: use claude-code-lb run -- claude.\n", source.File)
		}
	}
	var unset []string
	for _, name := range connect.Conflicts()[2:] {
		if _, ok := std.Env(name); ok {
			unset = append(unset, name)
		}
	}
	set := [][2]string{{connect.BaseURL, s.URL}, {connect.AuthToken, s.Key}, {pidVariable, strconv.Itoa(pid)}}
	if _, err := fmt.Fprint(std.Out, exportLines(runtime.GOOS, set, unset)); err != nil {
		return service.ExitError
	}
	return service.ExitOK
}

// exportLines returns the lines that set variables in a POSIX shell, or in PowerShell on Windows.
func exportLines(system string, set [][2]string, unset []string) string {
	var out strings.Builder
	for _, v := range set {
		if system == "windows" {
			fmt.Fprintf(&out, "$env:%s = '%s'\n", v[0], v[1])
		} else {
			fmt.Fprintf(&out, "export %s='%s';\n", v[0], v[1])
		}
	}
	for _, name := range unset {
		if system == "windows" {
			fmt.Fprintf(&out, "Remove-Item Env:%s\n", name)
		} else {
			fmt.Fprintf(&out, "unset %s;\n", name)
		}
	}
	return out.String()
}

// startSession starts this program again, in the background, and waits until it serves.
func startSession(f runFlags) (session, int, error) {
	program, err := os.Executable()
	if err != nil {
		return session{}, 0, err
	}
	args := []string{"run", "-env"}
	if f.file != "" {
		args = append(args, "-c", f.file)
	}
	if f.log != "" {
		args = append(args, "-log", f.log)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), sessionVariable+"="+strconv.Itoa(sessionLeader()))
	detach(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return session{}, 0, err
	}
	if err := cmd.Start(); err != nil {
		return session{}, 0, err
	}
	var s session
	err = json.NewDecoder(out).Decode(&s)
	switch {
	case s.Error != "":
		err = errors.New(s.Error)
	case err != nil:
		err = fmt.Errorf("the balancer did not start: %w", err)
	}
	if err != nil {
		_ = cmd.Wait()
		return session{}, 0, err
	}
	return s, cmd.Process.Pid, nil
}

// serveSession is the process in the background: it serves until the session is over or a signal
// comes.
func serveSession(std service.Std, f runFlags) int {
	report := func(s session) {
		_ = json.NewEncoder(std.Out).Encode(s) // the reader waits for it
		if file, ok := std.Out.(*os.File); ok {
			file.Close()
		}
	}
	value, _ := std.Env(sessionVariable)
	leader, err := strconv.Atoi(value)
	if err != nil {
		report(session{Error: sessionVariable + " is not a process id: unset it"})
		return service.ExitUsage
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	private, key, flush, err := f.start(std, new(bill))
	if err != nil {
		report(session{Error: f.explain(std, err)})
		return service.ExitError
	}
	defer flush()
	defer private.Stop(privateDrain)
	report(session{URL: private.URL(), Key: key.Reveal()})
	poll := time.NewTicker(sessionPoll)
	defer poll.Stop()
	for {
		select {
		case <-signals:
			return service.ExitOK
		case <-poll.C:
			if leader > 0 && !isAlive(leader) {
				return service.ExitOK
			}
		}
	}
}

// explain returns the text of an error, as it is printed by commands.
func (f *runFlags) explain(std service.Std, err error) string {
	if e, ok := errors.AsType[service.Unreadable](err); ok {
		var out strings.Builder
		service.ExplainUnreadable(&out, service.ConfigPath(std, f.file), e.Err)
		return strings.TrimSpace(strings.TrimPrefix(out.String(), "claude-code-lb: "))
	}
	return err.Error()
}

package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/connect"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const runIntro = `claude-code-lb run starts a private balancer with the servers of the configuration, and
runs Claude Code through it, regardless of Claude Code's settings. When Claude Code ends, the
balancer ends too and prints the cost as one line on standard error. The exit status is that
of Claude Code. The balancer accepts connections from this machine only, with a random key,
and does not use the state and the ledger of the configuration.

Usage:
  claude-code-lb run [-c FILE] [-log FILE] -- claude [arguments]
  eval "$(claude-code-lb run -env)"   (the variables for other programs of this terminal)

Flags:
`

// privateDrain is how long responses may go on after their client has ended.
const privateDrain = 3 * time.Second

// runCommandFlags has the flags of run.
type runFlags struct {
	file, log string
	env       bool
	command   []string
}

func runRun(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("run", runIntro)
	var f runFlags
	flags.StringVar(&f.file, "c", "", configFlagUsage)
	flags.StringVar(&f.log, "log", "", "`FILE` to which the log of the balancer is appended (default: no log)")
	flags.BoolVar(&f.env, "env", false, "start the balancer in the background and print the variables that use it; it ends with the terminal's session")
	if status, done := parseLeading(flags, std, args); done {
		return status
	}
	f.command = flags.Args()
	_, serving := std.Env(sessionVariable)
	switch {
	case serving && f.env:
		return serveSession(std, f)
	case f.env && len(f.command) > 0:
		fmt.Fprintln(std.Err, "run: -env takes no command")
		return service.ExitUsage
	case f.env:
		return printSession(std, f)
	case len(f.command) == 0:
		fmt.Fprintln(std.Err, "run: the command is missing: claude-code-lb run -- claude")
		return service.ExitUsage
	}
	status, err := f.run(ctx, std)
	if err != nil {
		return printFailure(std, "run", service.ConfigPath(std, f.file), err)
	}
	return status
}

// run runs the command with a private balancer, and returns its exit status.
func (f *runFlags) run(ctx context.Context, std service.Std) (int, error) {
	program, err := exec.LookPath(f.command[0])
	if err != nil {
		return 0, fmt.Errorf("%s cannot be run: %w", f.command[0], errors.Unwrap(err))
	}
	machine, sources, err := readSources(std)
	if err != nil {
		return 0, err
	}
	settings, args, err := runSettings(machine, f.command)
	if err != nil {
		return 0, err
	}
	bill := new(bill)
	private, key, flush, err := f.start(std, bill)
	if err != nil {
		return 0, err
	}
	defer flush()
	defer private.Stop(0)
	variables := childVariables(private.URL(), key, os.Environ())
	if settings != nil {
		file, err := writeSettings(settings, private.URL(), key, sources)
		if err != nil {
			return 0, err
		}
		defer os.Remove(file)
		args = slices.Insert(args, claudeAt(args)+1, "--settings", file)
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = std.In, std.Out, std.Err, variables
	status, err := runChild(ctx, cmd)
	if err != nil {
		return 0, err
	}
	private.Stop(privateDrain)
	fmt.Fprintf(std.Err, "claude-code-lb: %s\n", bill)
	return status, nil
}

// start starts the private balancer with a random key.
func (f *runFlags) start(std service.Std, recorder service.Recorder) (*service.Private, config.Secret, func(), error) {
	none := config.Secret{}
	path := service.ConfigPath(std, f.file)
	cfg, problems, err := service.LoadConfig(std, path, service.UnusedByPrivate()...)
	switch {
	case err != nil:
		return nil, none, nil, service.Unreadable{Err: err}
	case problems.Failed():
		return nil, none, nil, service.FaultyConfig(path, problems)
	}
	log, flush, err := service.PrivateLog(std, f.log)
	if err != nil {
		return nil, none, nil, fmt.Errorf("-log: %w", err)
	}
	key := config.NewSecret(keyPrefix + rand.Text() + rand.Text())
	private, err := service.StartPrivate(cfg, key, log, recorder)
	if err != nil {
		flush()
		return nil, none, nil, err
	}
	return private, key, flush, nil
}

// readSources reads the settings that Claude Code would use, and refuses to run if those of an
// administrator override everything.
func readSources(std service.Std) (connect.Machine, []*connect.Source, error) {
	dir, err := os.Getwd()
	if err != nil {
		return connect.Machine{}, nil, err
	}
	machine := connect.Machine{OS: runtime.GOOS, Directory: dir, Env: std.Env}
	sources, err := machine.Sources()
	if err != nil {
		return machine, nil, err
	}
	return machine, sources, managedDecides(sources)
}

// claudeAt returns the index of the word of a command that is Claude Code: the program itself, or
// what npx and similar programs run. It is -1 if the command runs another program.
func claudeAt(command []string) int {
	isClaude := func(word string) bool {
		return programName(word) == "claude" || strings.HasPrefix(word, "@anthropic-ai/claude-code")
	}
	runners := []string{"npx", "bunx", "pnpm", "yarn", "bun", "node", "sudo", "env", "nice", "nohup", "timeout", "caffeinate"}
	switch {
	case isClaude(command[0]):
		return 0
	case slices.Contains(runners, programName(command[0])):
		return slices.IndexFunc(command, isClaude)
	}
	return -1
}

// programName returns the name of a program without its directory and its ending.
func programName(word string) string {
	base := strings.ToLower(filepath.Base(filepath.ToSlash(word)))
	for _, ending := range []string{".exe", ".cmd", ".ps1", ".js"} {
		base = strings.TrimSuffix(base, ending)
	}
	return base
}

// runSettings returns the settings to give to Claude Code on its command line, and the command
// without those that the user gave: both become one file, because Claude Code reads one only. It
// returns nil if the command does not run Claude Code.
func runSettings(machine connect.Machine, command []string) (*connect.Document, []string, error) {
	at := claudeAt(command)
	if at < 0 {
		return nil, slices.Clone(command), nil
	}
	given, found, kept := takeSettings(command[at+1:])
	args := append(slices.Clone(command[:at+1]), kept...)
	name, text := "--settings", []byte("{}")
	switch {
	case found && strings.HasPrefix(strings.TrimSpace(given), "{"):
		text = []byte(given)
	case found:
		name = given
		if !filepath.IsAbs(given) {
			given = filepath.Join(machine.Directory, given)
		}
		var err error
		if text, _, err = connect.ReadSettings(given); err != nil {
			return nil, nil, fmt.Errorf("--settings: %w", err)
		}
	}
	settings, err := connect.Parse(name, text)
	if err != nil {
		return nil, nil, fmt.Errorf("the settings given with --settings cannot be joined with those of run: %w", err)
	}
	for _, variable := range connect.Conflicts() {
		if value, ok := settings.String("env", variable); ok && value != "" {
			return nil, nil, fmt.Errorf("%s sets %s, which run would have to override: remove it there, or start claude without run", cmp.Or(name, "--settings"), variable)
		}
	}
	return settings, args, nil
}

// takeSettings removes the flags --settings from the arguments of Claude Code, and returns the value
// of the last one, which is the one that counts.
func takeSettings(args []string) (value string, found bool, kept []string) {
	for i := 0; i < len(args); i++ {
		after, joined := strings.CutPrefix(args[i], "--settings=")
		switch {
		case args[i] == "--":
			return value, found, append(kept, args[i:]...)
		case joined:
			value, found = after, true
		case args[i] == "--settings" && i+1 < len(args):
			i++
			value, found = args[i], true
		default:
			kept = append(kept, args[i])
		}
	}
	return value, found, kept
}

// writeSettings writes the settings with the variables of the balancer to a private temporary file.
// Variables of other settings files that would send requests elsewhere are set to nothing, because
// they cannot be removed.
func writeSettings(settings *connect.Document, url string, key config.Secret, sources []*connect.Source) (string, error) {
	values := [][2]string{{connect.BaseURL, url}, {connect.AuthToken, key.Reveal()}}
	for _, name := range connect.Conflicts()[2:] {
		if slices.ContainsFunc(sources, func(s *connect.Source) bool {
			value, ok := s.Variable(name)
			return s.Place != connect.Shell && ok && value != ""
		}) {
			values = append(values, [2]string{name, ""})
		}
	}
	settings, err := settings.WithVariables(values)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "claude-code-lb-*.json") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(settings.Bytes())
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// childVariables returns the environment of the command: without the variables that would send
// requests elsewhere, with those of the balancer, and without a proxy for it.
func childVariables(url string, key config.Secret, environment []string) []string {
	var kept []string
	exclusions, proxied := "", false
	for _, each := range environment {
		name, value, _ := strings.Cut(each, "=")
		upper := strings.ToUpper(name)
		switch {
		case slices.Contains(connect.Conflicts(), upper):
			continue
		case upper == "NO_PROXY":
			exclusions = cmp.Or(exclusions, value)
			continue
		case upper == "HTTP_PROXY" || upper == "HTTPS_PROXY" || upper == "ALL_PROXY":
			proxied = proxied || value != ""
		}
		kept = append(kept, each)
	}
	if proxied {
		exclusions = strings.TrimPrefix(exclusions+",127.0.0.1", ",")
	}
	if exclusions != "" {
		kept = append(kept, "NO_PROXY="+exclusions, "no_proxy="+exclusions)
	}
	return append(kept, connect.BaseURL+"="+url, connect.AuthToken+"="+key.Reveal())
}

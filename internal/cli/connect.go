package cli

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/connect"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const connectIntro = `claude-code-lb connect writes the address of a balancer, and a key, to the settings of
Claude Code. It sets env.ANTHROPIC_BASE_URL and env.ANTHROPIC_AUTH_TOKEN, changes no other
byte of the file, and makes a backup. Without URL it takes the address of the balancer that
the configuration file describes. It asks the balancer first, and writes nothing if the
balancer does not answer or does not accept the key.

Usage:
  claude-code-lb connect [URL] [-key-file FILE | -key - | -keep-login] [flags]
  claude-code-lb connect -check [URL]
  claude-code-lb connect -undo [-scope local]

Flags:
`

// connectCommand has the flags of connect.
type connectCommand struct {
	file, url          string
	keyFile, key       string
	keepLogin          bool
	scope              string
	vscode, statusline bool
	dryRun             bool
	undo, check        bool

	machine connect.Machine
	paths   connect.Paths
}

func runConnect(ctx context.Context, std service.Std, args []string) int {
	var c connectCommand
	flags := newFlags("connect", connectIntro)
	c.define(flags)
	if status, done := c.parse(flags, std, args); done {
		return status
	}
	dir, err := os.Getwd()
	if err == nil {
		c.machine = connect.Machine{OS: runtime.GOOS, Directory: dir, Env: std.Env}
		c.paths, err = c.machine.Paths()
	}
	if err == nil && c.statusline && !slices.ContainsFunc(commands(), func(other command) bool { return other.name == "statusline" }) {
		err = errors.New("-statusline: this version of claude-code-lb has no command statusline")
	}
	if err == nil {
		switch {
		case c.check:
			return c.printCheck(ctx, std)
		case c.undo:
			err = c.restore(std)
		default:
			err = c.connect(ctx, std)
		}
	}
	if err != nil {
		return printFailure(std, "connect", service.ConfigPath(std, c.file), err)
	}
	return service.ExitOK
}

func (c *connectCommand) define(flags *flag.FlagSet) {
	flags.StringVar(&c.file, "c", "", configFlagUsage)
	flags.StringVar(&c.keyFile, "key-file", "", "`FILE` with the client key")
	flags.StringVar(&c.key, "key", "", "`-` to read the client key from standard input")
	flags.BoolVar(&c.keepLogin, "keep-login", false, "set the address alone: Claude Code keeps its login, for servers without a token")
	flags.StringVar(&c.scope, "scope", "user", "`SCOPE` of the settings: user, or local for the project in this directory")
	flags.BoolVar(&c.vscode, "vscode", false, "also set claudeCode.disableLoginPrompt in the settings of VS Code")
	flags.BoolVar(&c.statusline, "statusline", false, "also set statusLine; a status line that is set already is kept, in front of ours")
	flags.BoolVar(&c.dryRun, "dry-run", false, "print the changes and write nothing")
	flags.BoolVar(&c.undo, "undo", false, "restore what connect has changed, and nothing else")
	flags.BoolVar(&c.check, "check", false, "print which settings Claude Code uses and why; exit status 1 if it does not use a balancer")
}

// parse parses the flags, before and after the URL.
func (c *connectCommand) parse(flags *flag.FlagSet, std service.Std, args []string) (status int, done bool) {
	if status, done := parseLeading(flags, std, args); done {
		return status, true
	}
	if flags.NArg() > 0 {
		c.url = flags.Arg(0)
		if status, done := parseFlags(flags, std, flags.Args()[1:]); done {
			return status, true
		}
	}
	if err := c.validate(); err != nil {
		fmt.Fprintln(std.Err, "connect:", err)
		return service.ExitUsage, true
	}
	return service.ExitOK, false
}

// validate checks that the flags fit together.
func (c *connectCommand) validate() error {
	given := 0
	for _, set := range []bool{c.keyFile != "", c.key != "", c.keepLogin} {
		if set {
			given++
		}
	}
	changes := given > 0 || c.vscode || c.statusline
	switch {
	case c.key != "" && c.key != "-":
		return errors.New("-key takes - alone, for standard input: others can see a key on the command line. Use -key-file FILE for a file")
	case given > 1:
		return errors.New("-key-file, -key and -keep-login exclude each other")
	case c.scope != "user" && c.scope != "local":
		return fmt.Errorf("-scope %s: want user or local. The shared file of a project is committed, and a key does not belong there", c.scope)
	case c.undo && c.check, (c.undo || c.check) && changes, c.check && c.dryRun, c.undo && c.url != "":
		return errors.New("-check takes a URL at most, and -undo takes -scope and -dry-run")
	case c.vscode && c.keepLogin:
		return errors.New("-vscode is not necessary with -keep-login: the extension of VS Code uses the login")
	}
	if c.url != "" {
		base, err := connect.BaseOf(c.url)
		c.url = base
		return err
	}
	return nil
}

// target is the settings file that the scope names.
func (c *connectCommand) target() string {
	if c.scope == "local" {
		return c.paths.Local
	}
	return c.paths.User
}

// base returns the base URL: the argument, else the address in the configuration.
func (c *connectCommand) base(std service.Std) (string, error) {
	if c.url != "" {
		return c.url, nil
	}
	path := service.ConfigPath(std, c.file)
	unused := slices.DeleteFunc(service.UnusedByRules(), func(section string) bool { return section == "tls_cert" })
	cfg, _, err := service.LoadConfig(std, path, unused...)
	if err != nil {
		return "", fmt.Errorf("no URL is given, and the configuration %s cannot be read (%w): claude-code-lb connect http://HOST:PORT", path, err)
	}
	return baseOfConfig(cfg, path)
}

// baseOfConfig returns the address at which clients on this machine reach a balancer.
func baseOfConfig(cfg *config.Config, path string) (string, error) {
	address := service.LocalAddress(cfg.Address())
	switch {
	case strings.HasSuffix(address, ":0"):
		return "", fmt.Errorf("the balancer of %s listens on a port that is chosen at its start: give its URL", path)
	case cfg.TLSCert != "":
		if url, valid := secureURL(address, cfg.Certificate); valid {
			return url, nil
		}
		return "", fmt.Errorf("the balancer of %s uses HTTPS: give its URL with the name in the certificate, such as https://lb.example:%s", path, address[strings.LastIndexByte(address, ':')+1:])
	}
	return "http://" + address, nil
}

// connect asks the balancer, shows what changes, and writes it.
func (c *connectCommand) connect(ctx context.Context, std service.Std) error {
	base, err := c.base(std)
	if err != nil {
		return err
	}
	sources, err := c.machine.Sources()
	if err != nil {
		return err
	}
	if err := managedDecides(sources); err != nil {
		return err
	}
	present, err := connect.NewChange(c.target(), false, connect.Record{}) // a file that cannot be edited is reported first
	if err != nil {
		return err
	}
	key, err := c.chooseKey(ctx, std, base, present.Before)
	if err != nil {
		return err
	}
	manifest, unlock, err := c.lockManifest()
	if err != nil {
		return err
	}
	defer unlock()
	changes, err := c.plan(manifest, base, key)
	if err != nil {
		return err
	}
	if err := cmp.Or(c.keepInProject(changes[0]), c.keepOutOfGit(ctx, std, changes[0])); err != nil {
		return err
	}
	if err := c.apply(std, changes, manifest); err != nil {
		return err
	}
	c.conclude(std, base)
	return nil
}

// lockManifest loads the record of earlier changes, and makes other commands that change settings
// wait. A dry run takes no lock, because it may not make a directory for it.
func (c *connectCommand) lockManifest() (manifest *connect.Manifest, unlock func(), err error) {
	state, err := c.machine.StateFile()
	if err != nil {
		return nil, nil, err
	}
	unlock = func() {}
	if !c.dryRun {
		if err := os.MkdirAll(filepath.Dir(state), 0o700); err != nil {
			return nil, nil, err
		}
		if unlock, err = lockFile(state); err != nil {
			return nil, nil, err
		}
	}
	if manifest, err = connect.LoadManifest(state); err != nil {
		unlock()
	}
	return manifest, unlock, err
}

// managedDecides returns an error if the administrator's settings decide where requests go.
func managedDecides(sources []*connect.Source) error {
	for _, s := range sources {
		if s.Place != connect.Managed {
			continue
		}
		for _, name := range []string{connect.BaseURL, connect.AuthToken} {
			if _, ok := s.Variable(name); ok {
				return fmt.Errorf("%s sets %s, and managed settings override everything: ask the administrator of this machine", s.File, name)
			}
		}
	}
	return nil
}

// plan edits the documents, without writing them.
func (c *connectCommand) plan(manifest *connect.Manifest, base string, key keyChoice) ([]*connect.Change, error) {
	change, err := connect.NewChange(c.target(), false, manifest.Earlier(c.target()))
	if err != nil {
		return nil, err
	}
	if err := change.SetString(base, "env", connect.BaseURL); err != nil {
		return nil, err
	}
	switch {
	case c.keepLogin:
		if _, err := change.Restore("env", connect.AuthToken); err != nil {
			return nil, err
		}
		if value, ok := change.After.String("env", connect.AuthToken); ok && value != "" {
			return nil, fmt.Errorf("%s has an ANTHROPIC_AUTH_TOKEN, which Claude Code uses instead of its login: remove it first", change.File)
		}
	case !key.secret.Empty():
		if err := change.SetString(key.secret.Reveal(), "env", connect.AuthToken); err != nil {
			return nil, err
		}
	}
	if c.statusline {
		if err := setStatusLine(change); err != nil {
			return nil, err
		}
	}
	if !c.vscode {
		return []*connect.Change{change}, nil
	}
	editors, err := c.planEditors(manifest)
	return append([]*connect.Change{change}, editors...), err
}

// planEditors edits the settings of VS Code and of the editors built from it that are installed.
func (c *connectCommand) planEditors(manifest *connect.Manifest) ([]*connect.Change, error) {
	var changes []*connect.Change
	for _, file := range c.paths.VSCode {
		if _, err := os.Stat(filepath.Dir(file)); err != nil {
			continue
		}
		editor, err := connect.NewChange(file, true, manifest.Earlier(file))
		if err == nil {
			err = editor.Set([]byte("true"), connect.LoginPrompt)
		}
		if err != nil {
			return nil, err
		}
		changes = append(changes, editor)
	}
	if len(changes) == 0 {
		return nil, fmt.Errorf("-vscode: VS Code has no settings here: there is no directory %s", filepath.Dir(c.paths.VSCode[0]))
	}
	return changes, nil
}

// apply prints the differences and, unless this is a dry run, writes the files.
func (c *connectCommand) apply(std service.Std, changes []*connect.Change, manifest *connect.Manifest) error {
	for _, change := range changes {
		if _, err := fmt.Fprint(std.Out, change.Diff()); err != nil {
			return err
		}
	}
	if c.dryRun {
		fmt.Fprintln(std.Err, "Nothing was written: this is a dry run.")
		return nil
	}
	for _, change := range changes {
		if !change.Changes() {
			fmt.Fprintf(std.Err, "%s is as it should be.\n", change.File)
			continue
		}
		backup, err := change.Write(manifest, time.Now())
		if err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "Wrote %s.\n", change.File)
		if backup != "" {
			fmt.Fprintf(std.Err, "The former file is %s.\n", backup)
		}
	}
	return nil
}

// conclude prints what Claude Code uses now, and what to do if that is another balancer.
func (c *connectCommand) conclude(std service.Std, base string) {
	sources, err := c.machine.Sources()
	if err != nil || c.dryRun {
		return
	}
	effect := connect.Resolve(sources)
	for _, note := range effect.Notes {
		fmt.Fprintln(std.Err, "note:", note)
	}
	if effect.URL != base && effect.From != nil {
		fmt.Fprintf(std.Err, "note: in this directory %s sets ANTHROPIC_BASE_URL to %s, which comes first: claude-code-lb connect -check shows all places.\n", cmp.Or(effect.From.File, "the shell"), connect.ShowURL(effect.URL))
		return
	}
	fmt.Fprintf(std.Err, "Claude Code uses %s from now on; open sessions read it by themselves, and /status shows it. claude-code-lb connect -undo restores the former settings.\n", base)
}

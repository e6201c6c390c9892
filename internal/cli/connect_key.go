package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/connect"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// placeholder is the token for a balancer that needs none: Claude Code does not ask for a login if
// there is a token.
const placeholder = "claude-code-lb"

// maxClientKey is the largest client key that connect accepts: more is a file given by mistake.
const maxClientKey = 4 << 10

// keyChoice is the credential that Claude Code gets; empty: it stays as it is.
type keyChoice struct{ secret config.Secret }

// chooseKey asks the balancer for its health, and tries the key.
func (c *connectCommand) chooseKey(ctx context.Context, std service.Std, base string, settings *connect.Document) (keyChoice, error) {
	key, err := c.readKey(ctx, std)
	if err != nil {
		return keyChoice{}, err
	}
	certificates, _ := std.Env("NODE_EXTRA_CA_CERTS")
	probe, err := connect.NewProbe(base, certificates)
	if err != nil {
		return keyChoice{}, err
	}
	health, err := probe.Health(ctx)
	if err != nil {
		return keyChoice{}, err
	}
	fmt.Fprintf(std.Err, "%s is claude-code-lb: %s, %d of %d servers available.\n", base, health.Status, health.Available, *health.Total)
	switch {
	case c.keepLogin:
		return keyChoice{}, c.tryLogin(ctx, probe)
	case !key.Empty():
		return keyChoice{key}, tryKey(ctx, std, probe, key.Reveal())
	}
	if present, ok := settings.String("env", connect.AuthToken); ok && present != "" {
		fmt.Fprintln(std.Err, "The ANTHROPIC_AUTH_TOKEN in the settings stays.")
		return keyChoice{}, tryKey(ctx, std, probe, present)
	}
	return c.guessKey(ctx, std, probe)
}

// readKey reads the key that the flags name.
func (c *connectCommand) readKey(ctx context.Context, std service.Std) (config.Secret, error) {
	var text []byte
	var err error
	switch {
	case c.keyFile != "":
		var f *os.File
		if f, err = os.Open(c.keyFile); err == nil {
			text, err = io.ReadAll(io.LimitReader(f, maxClientKey+1))
			f.Close()
		}
	case c.key == "-" && isTerminal(std.In):
		return askKey(ctx, std)
	case c.key == "-":
		text, err = io.ReadAll(io.LimitReader(std.In, maxClientKey+1))
	default:
		return config.Secret{}, nil
	}
	if err != nil {
		return config.Secret{}, fmt.Errorf("read the key: %w", err)
	}
	return keyFrom(bytes.TrimSpace(text))
}

// keyFrom checks that a text can be sent as a key. Its errors do not quote it.
func keyFrom(text []byte) (config.Secret, error) {
	switch {
	case len(text) == 0:
		return config.Secret{}, errors.New("the key is empty")
	case len(text) > maxClientKey:
		return config.Secret{}, fmt.Errorf("the key is longer than %d KiB: it should be one line with the key alone", maxClientKey>>10)
	case bytes.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return config.Secret{}, errors.New("the key has spaces, line breaks or other characters that no key has: it should be one line with the key alone")
	}
	return config.NewSecret(string(text)), nil
}

func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// askKey asks for the key on the terminal, without showing it.
func askKey(ctx context.Context, std service.Std) (config.Secret, error) {
	q := newQuestionnaire(ctx, service.Std{In: std.In, Out: std.Err, Env: std.Env}, "")
	return q.askHidden("Client key", func(s string) string {
		if _, err := keyFrom([]byte(strings.TrimSpace(s))); err != nil {
			return err.Error()
		}
		return ""
	})
}

// tryKey sends a request with the key that costs nothing.
func tryKey(ctx context.Context, std service.Std, probe *connect.Probe, key string) error {
	verdict, status, err := probe.Key(ctx, key)
	switch {
	case err != nil:
		return err
	case verdict == connect.KeyNeeded:
		return fmt.Errorf("%s does not know this key (401): give one of its auth_keys with -key-file FILE or -key -. claude-code-lb key new makes one", probe.Base)
	case verdict == connect.TooManyTry:
		return fmt.Errorf("%s refuses to look at keys from this machine for a while, because many wrong ones came: wait a minute", probe.Base)
	case verdict == connect.Rejected:
		return fmt.Errorf("a request with this key was refused (%d): the balancer forwards it to a server without a token, or the key may not be used from here", status)
	case verdict == connect.Uncertain:
		fmt.Fprintf(std.Err, "The balancer accepts the key, but no server returned a list of models (%d): claude-code-lb check -online tests the servers.\n", status)
	default:
		fmt.Fprintln(std.Err, "The balancer accepts the key.")
	}
	return nil
}

// tryLogin checks that the balancer forwards the client's own credential.
func (c *connectCommand) tryLogin(ctx context.Context, probe *connect.Probe) error {
	verdict, _, err := probe.Key(ctx, "")
	if err == nil && verdict == connect.KeyNeeded {
		err = fmt.Errorf("%s requires a client key (auth is on), and a login is not one: use -key-file FILE or -key - instead of -keep-login", probe.Base)
	}
	return err
}

// guessKey finds out whether the balancer needs a key, because none is given. On a terminal it asks
// for one.
func (c *connectCommand) guessKey(ctx context.Context, std service.Std, probe *connect.Probe) (keyChoice, error) {
	verdict, _, err := probe.Key(ctx, "")
	switch {
	case err != nil:
		return keyChoice{}, err
	case verdict == connect.KeyNeeded && isTerminal(std.In):
		key, err := askKey(ctx, std)
		if err != nil {
			return keyChoice{}, err
		}
		return keyChoice{key}, tryKey(ctx, std, probe, key.Reveal())
	case verdict == connect.KeyNeeded:
		return keyChoice{}, fmt.Errorf("%s requires a client key: give one with -key-file FILE or -key -", probe.Base)
	case verdict == connect.Rejected:
		return keyChoice{}, fmt.Errorf("%s forwards the client's own credential: use -keep-login for the login of Claude Code, or -key-file FILE for a token", probe.Base)
	}
	fmt.Fprintln(std.Err, "The balancer needs no key: the token is a placeholder, so that Claude Code does not ask for a login.")
	return keyChoice{config.NewSecret(placeholder)}, nil
}

// keepInProject returns an error if the project's file is a link to a file elsewhere: a repository
// may contain such a link, and the key would end in a file that its author has chosen.
func (c *connectCommand) keepInProject(change *connect.Change) error {
	if c.scope != "local" {
		return nil
	}
	project, err := filepath.EvalSymlinks(filepath.Dir(filepath.Dir(c.paths.Local)))
	if err != nil {
		return err
	}
	if inside, err := filepath.Rel(project, change.File); err != nil || !filepath.IsLocal(inside) {
		return fmt.Errorf("%s is a link to %s, outside the project: remove the link", c.paths.Local, change.File)
	}
	return nil
}

// keepOutOfGit returns an error if Git would commit a project's file with a token. The user's file
// may be in a repository too, together with other dot files: that is only noted.
func (c *connectCommand) keepOutOfGit(ctx context.Context, std service.Std, change *connect.Change) error {
	root, inside := connect.RepositoryRoot(filepath.Dir(change.File))
	if !inside || !change.Tokened() || !change.Changes() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := exec.CommandContext(ctx, "git", "-C", root, "check-ignore", "-q", "--", change.File).Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		return nil // it is ignored, or there is no Git here that could commit it
	}
	if c.scope == "user" {
		fmt.Fprintf(std.Err, "note: git does not ignore %s, which has a token now: do not commit it.\n", change.File)
		return nil
	}
	return fmt.Errorf("git does not ignore %s, so the key would be committed: add .claude/settings.local.json to .gitignore or to .git/info/exclude in %s, then try again", change.File, root)
}

// setStatusLine sets the status line. One that is set already runs first, with the same input.
func setStatusLine(change *connect.Change) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	command := quoteWord(filepath.ToSlash(program), runtime.GOOS) + " statusline"
	old, ok := change.After.String(connect.StatusLine, "command")
	switch {
	case ok && strings.Contains(old, "claude-code-lb") && strings.Contains(old, " statusline"):
		return nil // ours already
	case ok:
		return change.SetString(command+" -then "+quoteWord(old, runtime.GOOS), connect.StatusLine, "command")
	}
	if _, exists, err := change.After.Raw(connect.StatusLine); exists || err != nil {
		return errors.Join(err, errors.New("statusLine is set to something that is not a command: remove it first"))
	}
	for _, member := range [][2]string{{"type", "command"}, {"command", command}} {
		if err := change.SetString(member[1], connect.StatusLine, member[0]); err != nil {
			return err
		}
	}
	return change.Set([]byte("5"), connect.StatusLine, "refreshInterval")
}

// quoteWord quotes a word for the shell that runs status lines: a POSIX shell, on Windows Git Bash
// or PowerShell.
func quoteWord(s, system string) string {
	plain := !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:+@,%=", r))
	})
	if plain && s != "" {
		return s
	}
	if system == "windows" && !strings.Contains(s, "'") {
		return "'" + s + "'" // both shells take this literally
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const initIntro = `claude-code-lb init writes a first configuration file, readable only by its owner.
It never overwrites a file. Without -url and -token it asks for the values.

Usage:
  claude-code-lb init
  claude-code-lb init -url https://api.anthropic.com -token '${ANTHROPIC_API_KEY}'
  claude-code-lb init -url https://a.example -token '${A_TOKEN}' \
                      -url https://b.example -token '${file:/run/secrets/b}' -mode fallback -auth

All users of this machine can see a token on the command line. It is better to name
a variable or a file, in single quotes as above: it is read at each start.

Flags:
`

// initFlags has the flags of init.
type initFlags struct {
	file   string
	urls   []string
	tokens []config.Secret
	listen string
	cert   string
	key    string
	mode   string
	auth   bool
	keys   []config.Secret
}

// runInit writes a first configuration file from flags, or from answers to questions.
func runInit(ctx context.Context, std service.Std, args []string) int {
	f, status, done := parseInitFlags(std, args)
	if done {
		return status
	}
	path := service.ConfigPath(std, f.file)
	if _, err := os.Lstat(path); err == nil {
		return initFailed(std, path, fs.ErrExist)
	}
	first, err := f.draft()
	if err != nil {
		fmt.Fprintln(std.Err, "init:", err)
		return service.ExitUsage
	}
	if len(first.servers) == 0 {
		if err := newQuestionnaire(ctx, std, path).fill(&first); err != nil {
			fmt.Fprintf(std.Out, "\n")
			fmt.Fprintf(std.Err, "init: %v\nNothing was written. The answers can be given as options too: claude-code-lb init -h\n", err)
			return service.ExitError
		}
	}
	first.fillDefaults()
	if problems := first.problems(path, assumeSet(std.Env)); problems.Failed() {
		for _, p := range problems {
			fmt.Fprintf(std.Err, "init: %s: %s\n", p.Path, p.Msg)
		}
		return service.ExitError
	}
	if err := writeNew(path, first.render()); err != nil {
		return initFailed(std, path, err)
	}
	fmt.Fprint(std.Out, nextSteps(std, path, first))
	return service.ExitOK
}

func parseInitFlags(std service.Std, args []string) (f initFlags, status int, done bool) {
	flags := newFlags("init", initIntro)
	for _, name := range []string{"c", "o"} {
		flags.StringVar(&f.file, name, "", "`FILE` to write (default: $CONFIG_FILE, else config.json)")
	}
	flags.Func("url", "base `URL` of an upstream; may be repeated", func(s string) error {
		f.urls = append(f.urls, s)
		return nil
	})
	flags.Func("token", "`TOKEN` of the upstream, one for each -url and in the same order", func(s string) error {
		f.tokens = append(f.tokens, config.NewSecret(s))
		return nil
	})
	flags.StringVar(&f.listen, "listen", "", "`HOST:PORT` to listen on (default: "+defaultListen+")")
	flags.StringVar(&f.cert, "tls-cert", "", "`FILE` with a certificate, for HTTPS with clients; needs -tls-key")
	flags.StringVar(&f.key, "tls-key", "", "`FILE` with the private key of the certificate")
	flags.StringVar(&f.mode, "mode", "", "`MODE`, load_balance or fallback (default: load_balance)")
	flags.BoolVar(&f.auth, "auth", false, "require a client key; init creates one unless -auth-key sets it")
	flags.Func("auth-key", "`KEY` that clients must send; may be repeated", func(s string) error {
		f.keys = append(f.keys, config.NewSecret(s))
		return nil
	})
	status, done = parseFlags(flags, std, args)
	return f, status, done
}

// draft returns the configuration of the flags. If it has no servers, the questionnaire completes
// it.
func (f initFlags) draft() (firstConfig, error) {
	first := firstConfig{listen: f.listen, cert: f.cert, key: f.key, mode: config.Mode(f.mode), keys: f.keys}
	if f.auth && len(f.keys) == 0 {
		first.makeKey()
	}
	urls := f.urls
	if len(urls) == 0 && len(f.tokens) == 1 {
		urls = []string{defaultURL}
	}
	if len(f.tokens) > 0 && len(f.tokens) != len(urls) {
		return first, fmt.Errorf("%d -token for %d -url: give one for each, '' for none", len(f.tokens), len(urls))
	}
	for i, url := range urls {
		server := firstServer{url: url}
		if len(f.tokens) > 0 {
			server.token = f.tokens[i]
		}
		first.servers = append(first.servers, server)
	}
	return first, nil
}

// makeKey generates a random client key.
func (c *firstConfig) makeKey() {
	c.madeKey = config.NewSecret("sk-lb-" + strings.ToLower(rand.Text()))
	c.keys = []config.Secret{c.madeKey}
}

// assumeSet returns an environment in which every variable is set: the file is for a later start,
// maybe in another environment.
func assumeSet(env func(string) (string, bool)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		if value, ok := env(name); ok || name == config.IdentityVariable {
			return value, ok
		}
		return "unset", true
	}
}

// writeNew writes a file that does not exist yet. On an error there is no file.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// initFailed prints why the file was not written, and returns the exit status.
func initFailed(std service.Std, path string, err error) int {
	if errors.Is(err, fs.ErrExist) {
		fmt.Fprintf(std.Err, "init: %s exists already and was not changed. Remove it first, or write another file with -c FILE.\n", path)
	} else {
		fmt.Fprintln(std.Err, "init: cannot write the configuration file:", err)
	}
	return service.ExitError
}

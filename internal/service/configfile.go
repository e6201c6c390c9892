package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// ConfigPath returns the path of the configuration file: the flag's value, else CONFIG_FILE from
// the environment, else config.json in the working directory.
func ConfigPath(std Std, flagValue string) string {
	if flagValue != "" {
		return flagValue
	}
	if path, ok := std.Env("CONFIG_FILE"); ok && path != "" {
		return path
	}
	return "config.json"
}

// LoadConfig reads and decodes a configuration file without the sections that a command does not
// use: those may refer to variables, files and identities that only the balancer has. The error is
// that of reading the file.
func LoadConfig(std Std, path string, unused ...string) (*config.Config, config.Problems, error) {
	src, err := ReadBounded(path)
	if err != nil {
		return nil, nil, err
	}
	cfg, problems := config.DecodeWithout(path, src, std.Env, unused...)
	return cfg, problems, nil
}

// UnusedByKeys lists the sections that commands on client keys do not use.
func UnusedByKeys() []string {
	return []string{"servers", "webhooks", "admin_key", "ledger", "tls_cert"}
}

// UnusedByWebhooks lists the sections that commands on webhooks do not use.
func UnusedByWebhooks() []string {
	return []string{"servers", "auth_keys", "admin_key", "ledger", "tls_cert"}
}

// UnusedByLedger lists the sections that commands on the ledger do not use.
func UnusedByLedger() []string {
	return []string{"servers", "auth_keys", "webhooks", "admin_key", "tls_cert"}
}

// UnusedByRules lists the sections that commands without any secret do not use.
func UnusedByRules() []string { return append(UnusedByLedger(), "ledger") }

// LoadServed is LoadConfig for serving. It also reports servers that are the balancer itself.
func LoadServed(std Std, path string) (*config.Config, config.Problems, error) {
	src, err := ReadBounded(path)
	if err != nil {
		return nil, nil, err
	}
	cfg, problems := config.Decode(path, src, std.Env)
	return cfg, append(problems, thisMachine().selfProblems(path, src, cfg)...), nil
}

// maxConfigBytes limits the size of a configuration file: -c may name a device that never ends.
const maxConfigBytes = 8 << 20

// ReadBounded reads a file of at most maxConfigBytes.
func ReadBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err == nil && len(src) > maxConfigBytes {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is larger than %d MiB", maxConfigBytes>>20)}
	}
	return src, err
}

// ExplainUnreadable prints why a configuration file cannot be read, and what to do about it.
func ExplainUnreadable(w io.Writer, path string, err error) {
	full, absErr := filepath.Abs(path)
	if absErr != nil {
		full = path
	}
	if !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(w, "claude-code-lb: cannot read the configuration file %s: %v\n", full, errors.Unwrap(err))
		return
	}
	fmt.Fprintf(w, `claude-code-lb: there is no configuration file at %s
(looked for: -c FILE, then the environment variable CONFIG_FILE, then config.json in the working directory)

  claude-code-lb init            writes a first one
  claude-code-lb demo -for 15s   shows the balancer at work, without any configuration
`, full)
}

// FaultyConfig is the error of a command whose configuration has errors. It names the first one.
func FaultyConfig(path string, problems config.Problems) error {
	for _, p := range problems {
		if !p.Warning {
			return fmt.Errorf("%s has errors (claude-code-lb check lists them), the first one: %s", path, p)
		}
	}
	return fmt.Errorf("%s has errors: claude-code-lb check lists them", path)
}

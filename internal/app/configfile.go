package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// configPath says which configuration file to use: the flag's value, else
// CONFIG_FILE from the environment, else config.json in the working directory.
func configPath(std Std, flagValue string) string {
	if flagValue != "" {
		return flagValue
	}
	if path, ok := std.Env("CONFIG_FILE"); ok && path != "" {
		return path
	}
	return "config.json"
}

// loadConfig reads and decodes a configuration file. The error is that of reading.
func loadConfig(std Std, path string) (*config.Config, config.Problems, error) {
	return loadConfigWithout(std, path)
}

// forKeys, forWebhooks, forLedger and forRules are the sections of a configuration that the commands
// key, webhook-test, those that read the ledger and explain-error do not use. They may refer to
// variables, files and identities that only the balancer has.
func forKeys() []string { return []string{"servers", "webhooks", "admin_key", "ledger", "tls_cert"} }
func forWebhooks() []string {
	return []string{"servers", "auth_keys", "admin_key", "ledger", "tls_cert"}
}
func forLedger() []string {
	return []string{"servers", "auth_keys", "webhooks", "admin_key", "tls_cert"}
}
func forRules() []string { return append(forLedger(), "ledger") }

// loadConfigWithout is loadConfig for a command that does not use some sections.
func loadConfigWithout(std Std, path string, sections ...string) (*config.Config, config.Problems, error) {
	src, err := readBounded(path)
	if err != nil {
		return nil, nil, err
	}
	cfg, problems := config.DecodeWithout(path, src, std.Env, sections...)
	return cfg, problems, nil
}

// loadServed is loadConfig for serving. It also reports servers that are the balancer itself.
func loadServed(std Std, path string) (*config.Config, config.Problems, error) {
	src, err := readBounded(path)
	if err != nil {
		return nil, nil, err
	}
	cfg, problems := config.Decode(path, src, std.Env)
	return cfg, append(problems, thisMachine().selfProblems(path, src, cfg)...), nil
}

// maxConfigBytes bounds what is read of a configuration: -c may name a device that never ends.
const maxConfigBytes = 8 << 20

func readBounded(path string) ([]byte, error) {
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

// explainUnreadable says what to do about a configuration file that cannot be read.
func explainUnreadable(w io.Writer, path string, err error) {
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

// faulty is the error of a command whose configuration has errors. It shows the first one.
func faulty(path string, problems config.Problems) error {
	for _, p := range problems {
		if !p.Warning {
			return fmt.Errorf("%s has errors (claude-code-lb check lists them), the first one: %s", path, p)
		}
	}
	return fmt.Errorf("%s has errors: claude-code-lb check lists them", path)
}

package service

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

func TestStateDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "team.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(stateDir, systemd, file, want string) {
		t.Helper()
		std := Std{Env: func(name string) (string, bool) { return systemd, name == "STATE_DIRECTORY" && systemd != "" }}
		if got := NewState(std, file, &config.Config{StateDir: stateDir}, nil).dir; got != want {
			t.Errorf("state_dir %q, STATE_DIRECTORY %q: %q, want %q", stateDir, systemd, got, want)
		}
	}
	f("", "", file, filepath.Join(dir, "team.state"))
	f("", "/var/lib/lb:/var/lib/more", file, "/var/lib/lb")
	f("kept", "/var/lib/lb", file, filepath.Join(dir, "kept"))
	f("/srv/lb", "", file, "/srv/lb")
	f("off", "/var/lib/lb", file, "")
	f("", "", "/dev/null", "")
}

// TestStateBesideAReadOnlyFile checks that the state goes to the user's directory for state, if
// that is writable.
func TestStateBesideAReadOnlyFile(t *testing.T) {
	const file = "/proc/self/status" // not even root can create a file next to it
	if !isRegular(file) {
		t.Skip("there is no /proc")
	}
	home := t.TempDir()
	f := func(env map[string]string, want string) {
		t.Helper()
		std := Std{Env: func(name string) (string, bool) { value, ok := env[name]; return value, ok }}
		if got := NewState(std, file, &config.Config{}, nil).dir; !strings.HasPrefix(got, want) || len(got)-len(want) > 8 {
			t.Errorf("%v: %q, want %q", env, got, want)
		}
	}
	f(map[string]string{"HOME": home}, filepath.Join(home, ".local", "state", "claude-code-lb", "status.state-"))
	f(map[string]string{"HOME": "/", "XDG_STATE_HOME": home}, filepath.Join(home, "claude-code-lb", "status.state-"))
	f(map[string]string{"HOME": "/proc"}, "/proc/self/status.state")
	f(nil, "/proc/self/status.state")
	if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStateIsReplacedInOneStep(t *testing.T) {
	var log bytes.Buffer
	s := State{dir: filepath.Join(t.TempDir(), "new", "dir"), log: slog.New(slog.NewTextHandler(&log, nil)), warned: map[string]time.Time{}}
	text := func(text string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
	}
	read := func() string {
		got := "nothing"
		s.load("x", func(r io.Reader) error { b, err := io.ReadAll(r); got = string(b); return err })
		return got
	}
	if got := read(); got != "nothing" || log.Len() > 0 {
		t.Errorf("before there is any: %q, %s", got, &log)
	}
	s.save("x", text("one"))
	s.save("x", func(w io.Writer) error { return errors.Join(text("half")(w), errors.New("disk full")) })
	s.save("x", func(io.Writer) error { return errors.New("disk full") })
	if got := read(); got != "one" || strings.Count(log.String(), "disk full") != 1 {
		t.Errorf("after a failed save: %q, %s", got, &log)
	}
	left, err := os.ReadDir(s.dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
	if info, err := left[0].Info(); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	log.Reset()
	s.load("x", func(io.Reader) error { return errors.New("odd") })
	if !strings.Contains(log.String(), telemetry.StateIgnored) || !strings.Contains(log.String(), "odd") {
		t.Errorf("%s", &log)
	}
	log.Reset()
	if err := os.Mkdir(filepath.Join(s.dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.load("d", func(io.Reader) error { t.Error("read"); return nil })
	if !strings.Contains(log.String(), "not a regular file") {
		t.Errorf("%s", &log)
	}
	none := State{}
	none.save("x", text("one"))
	none.load("x", func(io.Reader) error { t.Error("read"); return nil })
}

// TestOldTemporariesAreRemoved checks that temporary files are removed if they are too old to be in
// use.
func TestOldTemporariesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, routingState)
	old, fresh, foreign := file+".1.tmp", file+".2.tmp", filepath.Join(dir, "mine.tmp")
	for _, name := range []string{old, fresh, foreign} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{old, foreign} {
		long := time.Now().Add(-2 * abandonedAge)
		if err := os.Chtimes(name, long, long); err != nil {
			t.Fatal(err)
		}
	}
	removeOldTemporaries(file)
	for name, want := range map[string]bool{old: false, fresh: true, foreign: true} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
	}
}

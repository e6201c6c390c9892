package service

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	routingState = "routing.snapshot"
	ownersState  = "owners.json"
	claimsState  = "resources.json"
	threadsState = "threads.snapshot"
	// snapshotPeriod is how often what can be lost in a crash is saved: as long as an idle conversation is cached.
	snapshotPeriod = 5 * time.Minute
	// ownersPeriod is the same for what an account was asked to keep, which is not to be found again so easily.
	ownersPeriod = 2 * time.Second
)

// State is the directory in which a balancer keeps what outlives it. Nothing
// depends on it: without it a restart begins with less knowledge. The zero value keeps nothing.
type State struct {
	dir string
	log *slog.Logger

	complained map[string]time.Time // by file: a disk that is full is so for hours
}

func NewState(std Std, path string, cfg *config.Config, log *slog.Logger) State {
	dir := StateDirectory(std, path, cfg)
	if dir == "" {
		return State{}
	}
	return State{dir: dir, log: log, complained: map[string]time.Time{}}
}

// StateDirectory says where a configuration keeps its state: where it says, else
// where systemd wants it, else in a directory beside the configuration file,
// named after it, or with the user's other state where that place is read-only.
// No directory is made before there is something to keep. "" keeps nothing.
func StateDirectory(std Std, path string, cfg *config.Config) string {
	dir := cfg.StateDir
	switch given, ok := std.Env("STATE_DIRECTORY"); {
	case dir == config.Off:
		return ""
	case dir != "" && !filepath.IsAbs(dir):
		dir = filepath.Join(filepath.Dir(path), dir)
	case dir != "":
	case ok && given != "":
		dir, _, _ = strings.Cut(given, ":")
	case isRegular(path):
		dir = strings.TrimSuffix(path, filepath.Ext(path)) + ".state"
		if spare := userState(std, dir); !writable(dir) && writable(spare) {
			dir = spare
		}
	}
	return dir
}

// userState is where a user keeps what would stand at dir if that could be
// written to, "" if there is no such place. Its name tells configurations apart.
func userState(std Std, dir string) string {
	full, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	name := fmt.Sprintf("%s-%x", filepath.Base(full), sha256.Sum256([]byte(full)))
	name = name[:len(filepath.Base(full))+1+8]
	for _, place := range [...]struct{ variable, below string }{{"XDG_STATE_HOME", ""}, {"HOME", ".local/state"}, {"LOCALAPPDATA", ""}} {
		if root, ok := std.Env(place.variable); ok && filepath.IsAbs(root) {
			return filepath.Join(root, place.below, "claude-code-lb", name)
		}
	}
	return ""
}

// writable says whether a directory can be written to, or made.
func writable(dir string) bool {
	if dir == "" {
		return false
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		return writable(filepath.Dir(dir))
	}
	f, err := os.CreateTemp(dir, ".claude-code-lb.*.tmp")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

// load reads what an earlier process kept, if it did. What cannot be used is reported and ignored.
func (s State) load(name string, read func(io.Reader) error) {
	if s.dir == "" {
		return
	}
	file := filepath.Join(s.dir, name)
	sweep(file)
	err := readState(file, read)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.log.Warn(telemetry.StateIgnored, telemetry.File, file, telemetry.Err, err)
	default:
		s.log.Info(telemetry.StateRestored, telemetry.File, file)
	}
}

// halfWritten is how old a file must be that nobody is still writing.
const halfWritten = time.Hour

// sweep removes what processes that were killed while they wrote a file have left beside it.
func sweep(file string) {
	left, _ := filepath.Glob(file + ".*.tmp") // its only error is a bad pattern
	for _, name := range left {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > halfWritten {
			os.Remove(name)
		}
	}
}

// readState does not touch what could block a start, such as a pipe.
func readState(file string, read func(io.Reader) error) error {
	switch info, err := os.Stat(file); {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return errors.Join(read(f), f.Close())
}

// save replaces a file in one step: whoever reads it finds the old or the new
// content. It reports whether the new one is there.
func (s State) save(name string, write func(io.Writer) error) bool {
	if s.dir == "" {
		return false
	}
	err := s.replace(filepath.Join(s.dir, name), write)
	if err == nil {
		delete(s.complained, name)
		return true
	}
	if now := time.Now(); now.Sub(s.complained[name]) > telemetry.RepeatPeriod {
		s.complained[name] = now
		s.log.Warn(telemetry.StateNotSaved, telemetry.File, filepath.Join(s.dir, name), telemetry.Err, err)
	}
	return false
}

func (s State) replace(file string, write func(io.Writer) error) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, filepath.Base(file)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

func (s State) loadIndex(x *routing.Index) {
	s.load(routingState, func(r io.Reader) error { return x.Load(r, time.Now()) })
}

func (s State) loadContinuations(c *routing.Continuations) {
	s.load(threadsState, func(r io.Reader) error { return c.Load(r, time.Now()) })
}

func (s State) loadOwners(o *routing.Owners) {
	s.load(ownersState, func(r io.Reader) error { return o.Load(r, time.Now()) })
}

func (s State) loadClaims(r *quota.Resources) {
	s.load(claimsState, func(in io.Reader) error { return r.Load(in, time.Now()) })
}

// changing is state that is saved whenever it has changed.
type changing interface {
	Changed() bool
	Save(io.Writer) error
	Unsaved()
}

func (s State) saveChanged(name string, k changing) {
	if k.Changed() && !s.save(name, k.Save) {
		k.Unsaved()
	}
}

// saveOwners saves which account keeps each resource, and which client key created it.
func (s State) saveOwners(o *routing.Owners, r *quota.Resources) {
	s.saveChanged(ownersState, o)
	s.saveChanged(claimsState, r)
}

func (s State) saveContinuations(c *routing.Continuations) {
	if c.Len() > 0 {
		s.save(threadsState, func(w io.Writer) error { return c.Save(w, time.Now()) })
	}
}

func (s State) saveIndex(x *routing.Index) {
	if x.Len() > 0 {
		s.save(routingState, func(w io.Writer) error { return x.Save(w, time.Now()) })
	}
}

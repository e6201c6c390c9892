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
	routingState       = "routing.snapshot"
	ownersState        = "owners.json"
	resourcesState     = "resources.json"
	continuationsState = "threads.snapshot"
	// snapshotPeriod is how often the cache index is saved. A crash loses at most what an idle
	// conversation would lose anyway: upstreams cache it for five minutes.
	snapshotPeriod = 5 * time.Minute
	// ownersPeriod is how often the owners of resources are saved. They cannot be learned again.
	ownersPeriod = 2 * time.Second
)

// State is the directory with the state that survives the process. It is optional: without it a
// restart knows less. The zero value saves nothing.
type State struct {
	dir string
	log *slog.Logger

	warned map[string]time.Time // last warning by file: a disk may be full for hours
}

// NewState returns the state of a configuration.
func NewState(std Std, path string, cfg *config.Config, log *slog.Logger) State {
	dir := StateDirectory(std, path, cfg)
	if dir == "" {
		return State{}
	}
	return State{dir: dir, log: log, warned: map[string]time.Time{}}
}

// StateDirectory returns the state directory of a configuration: that of state_dir, else that of
// systemd, else a directory beside the configuration file, named after it. If that place is
// read-only, it is a directory with the user's other state. The directory may not exist yet: save
// makes it. "" means that no state is saved.
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
		if other := userState(std, dir); !isWritable(dir) && isWritable(other) {
			dir = other
		}
	}
	return dir
}

// userState returns the directory that replaces dir if dir is read-only, below the user's directory
// for state, or "" if the environment names none. Its name contains a hash of dir, so that each
// configuration has its own.
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

// isWritable reports whether files can be made in a directory. A directory that does not exist is
// writable if it can be made.
func isWritable(dir string) bool {
	if dir == "" {
		return false
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		return isWritable(filepath.Dir(dir))
	}
	f, err := os.CreateTemp(dir, ".claude-code-lb.*.tmp")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

// load reads the state that an earlier process saved. It logs and ignores state that it cannot use.
func (s State) load(name string, read func(io.Reader) error) {
	if s.dir == "" {
		return
	}
	file := filepath.Join(s.dir, name)
	removeOldTemporaries(file)
	err := readState(file, read)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.log.Warn(telemetry.StateIgnored, telemetry.File, file, telemetry.Err, err)
	default:
		s.log.Info(telemetry.StateRestored, telemetry.File, file)
	}
}

// abandonedAge is the age from which a temporary file belongs to no running process.
const abandonedAge = time.Hour

// removeOldTemporaries removes the temporary files of processes that were killed while they wrote a
// file.
func removeOldTemporaries(file string) {
	temporaries, _ := filepath.Glob(file + ".*.tmp") // its only error is a bad pattern
	for _, name := range temporaries {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > abandonedAge {
			os.Remove(name)
		}
	}
}

// readState reads a regular file. Anything else, such as a pipe, could block the start.
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

// save replaces a file in one step: readers find the old or the new content. It reports whether
// that succeeded.
func (s State) save(name string, write func(io.Writer) error) bool {
	if s.dir == "" {
		return false
	}
	err := s.replace(filepath.Join(s.dir, name), write)
	if err == nil {
		delete(s.warned, name)
		return true
	}
	if now := time.Now(); now.Sub(s.warned[name]) > telemetry.RepeatPeriod {
		s.warned[name] = now
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
	s.load(continuationsState, func(r io.Reader) error { return c.Load(r, time.Now()) })
}

func (s State) loadOwners(o *routing.Owners) {
	s.load(ownersState, func(r io.Reader) error { return o.Load(r, time.Now()) })
}

func (s State) loadResources(r *quota.Resources) {
	s.load(resourcesState, func(in io.Reader) error { return r.Load(in, time.Now()) })
}

// saver is state that knows whether it has changed since it was saved.
type saver interface {
	Changed() bool
	Save(io.Writer) error
	Unsaved() // what Save wrote is lost: Changed returns true again
}

func (s State) saveChanged(name string, k saver) {
	if k.Changed() && !s.save(name, k.Save) {
		k.Unsaved()
	}
}

// saveOwners saves which account has each resource, and which client key created it.
func (s State) saveOwners(o *routing.Owners, r *quota.Resources) {
	s.saveChanged(ownersState, o)
	s.saveChanged(resourcesState, r)
}

func (s State) saveContinuations(c *routing.Continuations) {
	if c.Len() > 0 {
		s.save(continuationsState, func(w io.Writer) error { return c.Save(w, time.Now()) })
	}
}

func (s State) saveIndex(x *routing.Index) {
	if x.Len() > 0 {
		s.save(routingState, func(w io.Writer) error { return x.Save(w, time.Now()) })
	}
}

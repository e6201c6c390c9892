package service

import (
	"bytes"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/http1"
)

// watchInterval is how often the configuration is looked at. Reading a small
// file every second costs nothing and, unlike file notifications, works the
// same over bind mounts, symlinked volumes and every editor's way of saving.
const watchInterval = time.Second

// watchedFile notices when a configuration file, or a file it refers to, has
// new content.
type watchedFile struct {
	path    string
	others  []string // read through ${file:…}
	applied []byte   // content that was last acted upon
	latest  []byte   // content at the last look
}

// load reads and decodes the file. What is compared from now on was read
// before that: content that arrives in between is seen as a change, not missed.
func (w *watchedFile) load(std Std) (*config.Config, config.Problems, error) {
	for {
		w.applied, _ = w.read()
		w.latest = w.applied
		cfg, problems, err := LoadServed(std, w.path)
		if cfg == nil || !w.refersTo(cfg.Files) || !isRegular(w.path) {
			return cfg, problems, err
		}
	}
}

// refersTo reports whether one of these files was not compared so far, and adds it.
func (w *watchedFile) refersTo(files []string) (more bool) {
	for _, path := range files {
		if !slices.Contains(w.others, path) {
			w.others = append(w.others, path)
			more = true
		}
	}
	return more
}

// changed reports new content that has stood still since the last look: a file
// is often written in several steps.
func (w *watchedFile) changed() bool {
	before := w.latest
	latest, err := w.read()
	if http1.Exhausted(err) { // the files are as they were, as far as can be told
		return false
	}
	w.latest = latest
	return bytes.Equal(before, w.latest) && !bytes.Equal(w.latest, w.applied)
}

// read returns all content, one file after the other. A file that is missing
// for a moment, as some editors leave it, counts as having none, and so does a
// pipe: it can be read only once. The error is that of the last file that could not be read.
func (w *watchedFile) read() (all []byte, failed error) {
	for _, path := range append([]string{w.path}, w.others...) {
		content, err := readWatched(path)
		if err != nil {
			content, failed = []byte(err.Error()), err
		}
		all = append(append(all, content...), 0)
	}
	return all, failed
}

func readWatched(path string) ([]byte, error) {
	if !isRegular(path) {
		return nil, fs.ErrNotExist
	}
	return ReadBounded(path)
}

func isRegular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

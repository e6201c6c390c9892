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

// watchInterval is how often the configuration file is compared. Reading a small file every second
// costs nothing. Unlike file notifications, it works the same over bind mounts, symlinked volumes
// and every editor's way of saving.
const watchInterval = time.Second

// watchedFile detects new content of a configuration file, or of a file to which it refers.
type watchedFile struct {
	path    string
	others  []string // files of ${file:…}
	applied []byte   // content at the last load
	latest  []byte   // content at the last comparison
}

// load reads and decodes the file. It reads the content for later comparisons first: content that
// arrives in between then counts as a change.
func (w *watchedFile) load(std Std) (*config.Config, config.Problems, error) {
	for {
		w.applied, _ = w.read()
		w.latest = w.applied
		cfg, problems, err := LoadServed(std, w.path)
		if cfg == nil || !w.addFiles(cfg.Files) || !isRegular(w.path) {
			return cfg, problems, err
		}
	}
}

// addFiles adds files to compare, and reports whether any of them is new.
func (w *watchedFile) addFiles(files []string) (more bool) {
	for _, path := range files {
		if !slices.Contains(w.others, path) {
			w.others = append(w.others, path)
			more = true
		}
	}
	return more
}

// changed reports new content that is the same as at the last comparison: a file is often written
// in several steps.
func (w *watchedFile) changed() bool {
	before := w.latest
	latest, err := w.read()
	if http1.OutOfDescriptors(err) { // without file descriptors nothing is known about the files
		return false
	}
	w.latest = latest
	return bytes.Equal(before, w.latest) && !bytes.Equal(w.latest, w.applied)
}

// read returns the concatenated content of all files. A file that cannot be read, such as one that
// is missing while an editor replaces it, contributes the text of its error. So does a pipe, which
// can be read only once. The error is that of the last file that could not be read.
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

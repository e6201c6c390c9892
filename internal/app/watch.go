package app

import (
	"bytes"
	"os"
	"slices"
	"time"

	"claude-code-lb/internal/config"
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

func newWatchedFile(path string, cfg *config.Config) *watchedFile {
	w := &watchedFile{path: path}
	w.seen(cfg)
	return w
}

// seen notes that the present content has been acted upon. cfg is nil when it could not be read.
func (w *watchedFile) seen(cfg *config.Config) {
	if cfg != nil {
		w.others = slices.Clone(cfg.Files)
	}
	w.applied = w.read()
	w.latest = w.applied
}

// changed reports new content that has stood still since the last look: a file
// is often written in several steps.
func (w *watchedFile) changed() bool {
	before := w.latest
	w.latest = w.read()
	return bytes.Equal(before, w.latest) && !bytes.Equal(w.latest, w.applied)
}

// read returns all content, one file after the other. A file that is missing
// for a moment, as some editors leave it, counts as having none.
func (w *watchedFile) read() []byte {
	var all []byte
	for _, path := range append([]string{w.path}, w.others...) {
		content, err := os.ReadFile(path)
		if err != nil {
			content = []byte(err.Error())
		}
		all = append(append(all, content...), 0)
	}
	return all
}

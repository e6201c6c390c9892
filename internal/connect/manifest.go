package connect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// manifestVersion is the version of the format. A later one is not changed.
const manifestVersion = 1

// Manifest remembers the changes to all files, so that they can be undone. It contains former
// values, which may be secrets, and is private.
type Manifest struct {
	file    string
	Version int               `json:"version"`
	Files   map[string]Record `json:"files"`
}

// LoadManifest reads a manifest. One that does not exist is empty.
func LoadManifest(file string) (*Manifest, error) {
	m := &Manifest{file: file, Version: manifestVersion, Files: map[string]Record{}}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the record of earlier changes: %w. Restore settings.json from a backup (settings.json.lb-…), then remove this file: %s", err, file)
	case m.Version > manifestVersion:
		return nil, fmt.Errorf("%s was written by a later version of claude-code-lb: use that one", file)
	case m.Files == nil:
		m.Files = map[string]Record{}
	}
	return m, nil
}

// Earlier returns what is remembered of a file.
func (m *Manifest) Earlier(file string) Record {
	if target, err := followLinks(file); err == nil {
		file = target
	}
	return m.Files[file]
}

// Known lists the files with changes.
func (m *Manifest) Known() []string { return slices.Sorted(maps.Keys(m.Files)) }

// save writes the manifest, or removes it if there is nothing to remember.
func (m *Manifest) save() error {
	if len(m.Files) == 0 {
		if err := os.Remove(m.file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.file), 0o700); err != nil {
		return err
	}
	return replaceFile(m.file, append(text, '\n'), 0o600, nil)
}

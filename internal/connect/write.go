package connect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Write writes a change: first the manifest, then a backup, then the file, in one step. If another
// program has changed the file meanwhile, nothing is written. It returns the name of the backup, or
// "" if there was nothing to back up.
func (c *Change) Write(m *Manifest, now time.Time) (backup string, err error) {
	if err := c.unchangedOnDisk(); err != nil {
		return "", err
	}
	if c.original != nil && !c.undo {
		if backup, err = c.backup(now); err != nil {
			return "", fmt.Errorf("back up %s: %w", c.File, err)
		}
		c.record.Backups = append(c.record.Backups, backup)
	}
	old, known := m.Files[c.File]
	m.Files[c.File] = c.record
	if !c.undo {
		err = m.save()
	}
	if err == nil {
		err = c.put()
	}
	if err != nil {
		m.forget(c.File, old, known)
		if backup != "" {
			err = errors.Join(err, os.Remove(backup))
		}
		return "", err
	}
	if c.undo {
		c.removeBackups()
		delete(m.Files, c.File)
		return "", m.save()
	}
	return backup, nil
}

// forget restores the record of a file after a failure.
func (m *Manifest) forget(file string, old Record, known bool) {
	delete(m.Files, file)
	if known {
		m.Files[file] = old
	}
	_ = m.save() // the error that is reported is the first one
}

// Forget removes a file from the manifest whose changes are already undone.
func (c *Change) Forget(m *Manifest) error {
	delete(m.Files, c.File)
	return m.save()
}

// unchangedOnDisk returns an error if the file is not as it was read, or must not be written.
func (c *Change) unchangedOnDisk() error {
	text, _, err := ReadSettings(c.File)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = nil, nil
	}
	switch {
	case err != nil:
		return err
	case (text == nil) != (c.original == nil) || !bytes.Equal(text, c.original):
		return fmt.Errorf("another program has changed %s meanwhile, and nothing was written: try again", c.File)
	case c.original != nil && c.mode&0o200 == 0:
		return fmt.Errorf("%s is read-only, and was not changed: make it writable if you want it changed", c.File)
	}
	return nil
}

// put writes the new content, or removes the file.
func (c *Change) put() error {
	content := c.Content()
	if content == nil {
		return os.Remove(c.File)
	}
	mode := fs.FileMode(0o600)
	if c.original != nil {
		mode = c.mode
	}
	switch {
	case c.undo && !c.record.Created && c.mode == c.record.Mode&0o600:
		mode = c.record.Mode // it was made private for the token
	case c.Tokened():
		mode &= 0o600
	}
	if err := os.MkdirAll(filepath.Dir(c.File), 0o700); err != nil {
		return err
	}
	return replaceFile(c.File, content, mode, c.original)
}

// backup copies the file, readable by its owner alone.
func (c *Change) backup(now time.Time) (string, error) {
	base := c.File + ".lb-" + now.UTC().Format("20060102T150405Z")
	for n := 0; ; n++ {
		name := base
		if n > 0 {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.Write(c.original)
		return name, errors.Join(err, f.Sync(), f.Close())
	}
}

// removeBackups removes the backups that are equal to the restored file, and names the others.
func (c *Change) removeBackups() {
	now := c.Content()
	for _, name := range c.record.Backups {
		switch text, err := os.ReadFile(name); {
		case err != nil:
		case bytes.Equal(text, now):
			os.Remove(name)
		default:
			c.note("The backup %s stays: it differs from the restored file.", name)
		}
	}
}

// replaceFile replaces the content of a file in one step. Its owner stays the same if old is not
// nil: root may do this for another user.
func replaceFile(file string, content []byte, mode fs.FileMode, old []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if old != nil {
		keepOwner(f, file)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// followLinks returns the file behind symbolic links, which need not exist: links stay in place.
func followLinks(file string) (string, error) {
	const most = 40
	for range most {
		target, err := filepath.EvalSymlinks(file)
		if err == nil {
			return target, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		link, err := os.Readlink(file)
		if err != nil { // not a link: it does not exist, and its directory may not either
			return inRealDirectory(file), nil
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(file), link)
		}
		file = link
	}
	return "", fmt.Errorf("%s: too many symbolic links", file)
}

// inRealDirectory returns the path of a file that does not exist, with the links of its directory
// followed.
func inRealDirectory(file string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return file
	}
	return filepath.Join(dir, filepath.Base(file))
}

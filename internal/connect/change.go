package connect

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// Change is the edit of one settings file, before it is written.
type Change struct {
	File   string // after symbolic links
	Before *Document
	After  *Document // nil: the file is removed
	Notes  []string

	original []byte // nil: there is no file
	mode     fs.FileMode
	blank    bool   // the file has no JSON, only white space at most
	content  []byte // what to write, if it is not After
	record   Record
	undo     bool
}

// Record is what a manifest remembers of the changes to a file.
type Record struct {
	Created bool        `json:"created,omitempty"` // the file did not exist
	Blank   *string     `json:"blank,omitempty"`   // its content, if that was white space
	Mode    fs.FileMode `json:"mode,omitempty"`    // before it was made private
	Backups []string    `json:"backups,omitempty"`
	Edits   []Edit      `json:"edits"`
}

// Edit is one key that was set.
type Edit struct {
	Path     []string `json:"path"`
	Before   *string  `json:"before,omitempty"` // its former value, as written; nil: the key was missing
	Interior string   `json:"interior,omitempty"`
	Object   bool     `json:"object,omitempty"` // an object that was added to hold other keys
	Wrote    string   `json:"wrote,omitempty"`  // hash of the value that was set
}

// NewChange begins to edit a file, which need not exist. earlier is what the manifest has of it.
func NewChange(file string, vscode bool, earlier Record) (*Change, error) {
	target, err := followLinks(file)
	if err != nil {
		return nil, err
	}
	c := &Change{File: target, record: earlier}
	text, mode, err := ReadSettings(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		c.original, c.mode = text, mode
		c.blank = len(bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))) == 0
	}
	if vscode {
		c.Before, err = ParseVSCode(file, text)
	} else {
		c.Before, err = Parse(file, text)
	}
	c.After = c.Before
	if len(c.record.Edits) == 0 {
		c.record = Record{Created: c.original == nil, Mode: mode}
		if c.blank {
			blank := string(text)
			c.record.Blank = &blank
		}
	}
	c.record.Edits = slices.Clone(c.record.Edits)
	return c, err
}

// SetString sets a key to a string.
func (c *Change) SetString(value string, path ...string) error {
	return c.Set([]byte(hujson.String(value)), path...)
}

// Set sets a key. The manifest keeps the value that the key had before the first of several calls,
// unless another program has changed it since.
func (c *Change) Set(raw []byte, path ...string) error {
	old, existed, err := c.After.Raw(path...)
	if err != nil {
		return err
	}
	if existed && digest(old) == digest(raw) {
		return nil
	}
	for n := 1; n < len(path); n++ {
		if _, ok, err := c.After.Raw(path[:n]...); ok || err != nil {
			continue
		}
		interior, _ := c.After.Empty(path[:n-1]...)
		c.record.Edits = append(c.record.Edits, Edit{Path: path[:n], Interior: interior, Object: true})
		if c.After, err = c.After.Set([]byte("{}"), path[:n]...); err != nil {
			return err
		}
	}
	edit := Edit{Path: path, Wrote: digest(raw)}
	edit.Interior, _ = c.After.Empty(path[:len(path)-1]...)
	if existed {
		before := string(old)
		edit.Before = &before
	}
	if c.After, err = c.After.Set(raw, path...); err != nil {
		return err
	}
	if i := c.edit(path); i >= 0 {
		if existed && c.record.Edits[i].Wrote == digest(old) {
			c.record.Edits[i].Wrote = edit.Wrote
			return nil
		}
		c.record.Edits = slices.Delete(c.record.Edits, i, i+1)
	}
	c.record.Edits = append(c.record.Edits, edit)
	return nil
}

// edit returns the index of the record of a key, or -1.
func (c *Change) edit(path []string) int {
	return slices.IndexFunc(c.record.Edits, func(e Edit) bool { return !e.Object && slices.Equal(e.Path, path) })
}

// Restore gives a key the value that it had before Set, if the manifest has it and no other program
// has changed the key since. It reports whether the key was changed.
func (c *Change) Restore(path ...string) (bool, error) {
	i := c.edit(path)
	if i < 0 {
		return false, nil
	}
	done, err := c.revert(c.record.Edits[i])
	if done {
		c.record.Edits = slices.Delete(c.record.Edits, i, i+1)
	}
	return done, err
}

// Undo restores all keys that the manifest has.
func (c *Change) Undo() error {
	c.undo = true
	for _, e := range slices.Backward(c.record.Edits) {
		if _, err := c.revert(e); err != nil {
			return err
		}
	}
	if _, empty := c.After.Empty(); !empty || c.original == nil {
		return nil
	}
	switch {
	case c.record.Created:
		c.After = nil
	case c.record.Blank != nil:
		c.content = []byte(*c.record.Blank)
	}
	return nil
}

// revert undoes one edit.
func (c *Change) revert(e Edit) (bool, error) {
	now, ok, err := c.After.Raw(e.Path...)
	name := strings.Join(e.Path, ".")
	switch {
	case err != nil:
		return false, err
	case e.Object:
		if _, empty := c.After.Empty(e.Path...); !ok || !empty {
			return false, nil
		}
	case !ok:
		c.note("%s is no longer there, and stays away.", name)
		return false, nil
	case digest(now) != e.Wrote:
		c.note("%s has been changed since, and stays as it is.", name)
		return false, nil
	}
	if e.Before != nil {
		c.After, err = c.After.Set([]byte(*e.Before), e.Path...)
	} else {
		c.After, err = c.After.Remove(e.Interior, e.Path...)
	}
	return err == nil, err
}

func (c *Change) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// Content returns what is to be written, or nil if the file is removed.
func (c *Change) Content() []byte {
	switch {
	case c.After == nil:
		return nil
	case c.content != nil:
		return c.content
	case c.After == c.Before && c.original == nil:
		return nil
	case c.After == c.Before:
		return c.original
	}
	return c.After.Bytes()
}

// Changes reports whether the file is changed at all.
func (c *Change) Changes() bool {
	content := c.Content()
	return !bytes.Equal(content, c.original) || (content == nil) != (c.original == nil)
}

// Diff returns what changes, without secrets.
func (c *Change) Diff() string {
	if !c.Changes() {
		return ""
	}
	before, after := c.Before, c.After
	if c.original == nil || c.blank {
		before = nil
	}
	if c.content != nil {
		after = nil
	}
	return Diff(c.File, before, after)
}

// Tokened reports whether the file has a token after the change.
func (c *Change) Tokened() bool {
	if c.After == nil {
		return false
	}
	value, ok := c.After.String("env", AuthToken)
	return ok && value != ""
}

// digest identifies a value, however it is indented.
func digest(raw []byte) string {
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		compact.Reset()
		compact.Write(raw)
	}
	sum := sha256.Sum256(compact.Bytes())
	return hex.EncodeToString(sum[:])
}

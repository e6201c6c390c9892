package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Spill lists the places for rows that could not be written to the ledger when the process ends.
// With the zero value such rows are lost.
type Spill struct {
	// Prefixes begin the names of files, each with its directory. The first place that is writable
	// is used. The next start searches every place.
	Prefixes []string
	// Print receives rows as JSON lines if no file could be written; nil: none.
	Print io.Writer
	// Command imports the printed lines. The log shows it.
	Command string
}

const (
	spillInfix  = ".unwritten-"
	spillSuffix = ".jsonl"
	// damagedSuffix is appended to the name of a file that was imported in part.
	damagedSuffix = ".damaged"
)

// write stores batches in the first place that accepts them. It returns the name of the file, or ""
// if they were printed.
func (s Spill) write(list []*load, now time.Time) (file string, err error) {
	errs := []error{errors.New("no other place is configured")}
	for _, prefix := range s.Prefixes {
		file, err := writeSpill(prefix, list, now)
		if err == nil {
			return file, nil
		}
		errs = append(errs, err)
	}
	if s.Print != nil {
		err := s.print(list)
		if err == nil {
			return "", nil
		}
		errs = append(errs, err)
	}
	if len(errs) > 1 {
		errs = errs[1:]
	}
	return "", errors.Join(errs...)
}

// printTime is the time that a reader of the output has.
const printTime = 5 * time.Second

// print writes to the output, which may be a pipe without a reader.
func (s Spill) print(list []*load) error {
	done := make(chan error, 1)
	go func() { done <- encodeSpill(s.Print, list) }()
	select {
	case err := <-done:
		return err
	case <-time.After(printTime):
		return errors.New("the standard output is not read")
	}
}

// writeSpill writes a file that gets its name only when it is complete and on the disk. Its mode is
// 0600.
func writeSpill(prefix string, list []*load, now time.Time) (string, error) {
	dir := filepath.Dir(prefix)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, filepath.Base(prefix)+spillInfix+now.UTC().Format("20060102T150405Z")+"-*.tmp")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) // fails after the rename, which is correct
	if err := errors.Join(encodeSpill(f, list), f.Sync(), f.Close()); err != nil {
		return "", err
	}
	name := strings.TrimSuffix(f.Name(), ".tmp") + spillSuffix
	return name, os.Rename(f.Name(), name)
}

// files lists the spills of earlier processes, the oldest first.
func (s Spill) files() []string {
	var list []string
	for _, prefix := range s.Prefixes {
		entries, err := os.ReadDir(filepath.Dir(prefix))
		if err != nil {
			continue // it does not exist, or is not readable
		}
		for _, e := range entries {
			name := e.Name()
			if e.Type().IsRegular() && strings.HasPrefix(name, filepath.Base(prefix)+spillInfix) && strings.HasSuffix(name, spillSuffix) {
				list = append(list, filepath.Join(filepath.Dir(prefix), name))
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// readSpill reads a file.
func readSpill(name string) (*spilled, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := decodeSpill(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return all, nil
}

// discardSpill removes a file that was imported, or sets it aside if some of its lines could not
// be used.
func discardSpill(name string, damaged bool) error {
	var err error
	if damaged {
		err = os.Rename(name, name+damagedSuffix)
	} else {
		err = os.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) { // another process was faster
		return nil
	}
	return err
}

// Waiting is a file with requests that are not in the ledger yet.
type Waiting struct {
	File     string
	Requests int
}

// Waiting lists the files of earlier processes that have not been imported.
func (s Spill) Waiting() []Waiting {
	var list []Waiting
	for _, file := range s.files() {
		if all, err := readSpill(file); err == nil {
			list = append(list, Waiting{file, all.requests()})
		} else {
			list = append(list, Waiting{File: file})
		}
	}
	return list
}

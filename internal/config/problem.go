package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Problem is an error or a warning about a configuration file.
type Problem struct {
	File      string
	Line, Col int    // from 1; Col counts characters, not bytes
	Path      string // path of the field, such as servers[0].url; "" for the whole file
	Msg       string
	Warning   bool // the file is usable
}

// String returns the problem in one line, in the form in which editors and terminals offer a link.
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Col)
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	} else {
		b.WriteString("error: ")
	}
	b.WriteString(p.Msg)
	return b.String()
}

// Problems are all problems of a file, sorted by position.
type Problems []Problem

// Failed reports whether one of them is an error.
func (p Problems) Failed() bool {
	return slices.ContainsFunc(p, func(p Problem) bool { return !p.Warning })
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Path, b.Path))
	})
}

// source is the text of a file. Offsets count bytes.
type source struct {
	file string
	text []byte
}

// position converts an offset; an offset past the end means the position after the last character.
func (s source) position(offset int) (line, col int) {
	before := s.text[:min(offset, len(s.text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}

// offset converts a position whose column counts bytes.
func (s source) offset(line, byteCol int) int {
	offset := 0
	for range line - 1 {
		offset += bytes.IndexByte(s.text[offset:], '\n') + 1
	}
	return min(offset+byteCol-1, len(s.text))
}

func (d *decoder) errorf(offset int, path, format string, args ...any) {
	d.errors++
	d.report(offset, path, false, fmt.Sprintf(format, args...))
}

func (d *decoder) warnf(offset int, path, format string, args ...any) {
	d.report(offset, path, true, fmt.Sprintf(format, args...))
}

func (d *decoder) report(offset int, path string, warning bool, msg string) {
	line, col := d.src.position(offset)
	d.problems = append(d.problems, Problem{File: d.src.file, Line: line, Col: col, Path: path, Msg: msg, Warning: warning})
}

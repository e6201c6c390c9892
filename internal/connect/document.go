// Package connect edits the settings of Claude Code so that it uses a balancer. It changes the keys
// that it owns and no other byte, and finds out which of several settings Claude Code uses.
package connect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tailscale/hujson"
)

// maxSettings is the largest settings file that is read: anything larger is another file.
const maxSettings = 4 << 20

// SyntaxError is the reason why a settings file cannot be edited, with its position.
type SyntaxError struct {
	File         string
	Line, Column int
	Msg          string
}

// Error returns the position and the reason. It contains no text of the file but one character.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Document is the text of a settings file with the offsets of its values. It is immutable: edits
// return another Document.
type Document struct {
	file string
	mark []byte // byte order mark, or nothing
	text []byte // without the mark
	jwcc bool   // comments and trailing commas are allowed, as VS Code does
	root hujson.Value
	top  *hujson.Object
}

// Parse reads a settings file of Claude Code, which is strict JSON. An empty file is an object
// without members.
func Parse(file string, text []byte) (*Document, error) { return parse(file, text, false) }

// ParseVSCode reads a settings file of VS Code: JSON with comments and trailing commas.
func ParseVSCode(file string, text []byte) (*Document, error) { return parse(file, text, true) }

func parse(file string, text []byte, jwcc bool) (*Document, error) {
	d := &Document{file: file, jwcc: jwcc}
	if rest, ok := bytes.CutPrefix(text, []byte("\ufeff")); ok {
		d.mark, text = text[:len(text)-len(rest)], rest
	}
	d.text = text
	if len(text) > maxSettings {
		return nil, d.problem(0, fmt.Sprintf("the file is larger than %d MiB", maxSettings>>20))
	}
	if len(bytes.TrimSpace(text)) == 0 {
		text = append(bytes.Clone(text), "{}\n"...)
		d.text = text
	}
	if !jwcc {
		if err := d.checkStrict(); err != nil {
			return nil, err
		}
	}
	root, err := hujson.Parse(bytes.Clone(text))
	if err != nil {
		return nil, d.parseProblem(err)
	}
	top, ok := root.Value.(*hujson.Object)
	if !ok {
		return nil, d.problem(root.StartOffset, "the settings are not an object, { … }")
	}
	d.root, d.top = root, top
	return d, nil
}

// checkStrict finds what Claude Code does not accept: comments, trailing commas and every other
// error.
func (d *Document) checkStrict() error {
	var ignored struct{}
	e, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(d.text, &ignored))
	if !ok {
		return nil
	}
	offset := min(max(int(e.Offset)-1, 0), len(d.text))
	if strings.Contains(e.Error(), "unexpected end") {
		return d.problem(len(d.text), "the file ends too early: a bracket or a quote is not closed")
	}
	before, rest := bytes.TrimRight(d.text[:offset], " \t\r\n"), d.text[offset:]
	switch {
	case bytes.HasPrefix(rest, []byte("/")):
		return d.problem(offset, "Claude Code reads strict JSON, without comments, and ignores this file")
	case bytes.HasSuffix(before, []byte(",")) && (bytes.HasPrefix(rest, []byte("}")) || bytes.HasPrefix(rest, []byte("]"))):
		return d.problem(len(before)-1, "Claude Code reads strict JSON, without a comma before a closing bracket, and ignores this file")
	}
	return d.problem(offset, "not JSON: "+e.Error())
}

// parseProblem converts an error of the parser.
func (d *Document) parseProblem(err error) error {
	e := &SyntaxError{File: d.file, Line: 1, Column: 1, Msg: "not JSON"}
	fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &e.Line, &e.Column)
	return e
}

// problem returns an error about the text at an offset.
func (d *Document) problem(offset int, msg string) error {
	before := d.text[:min(offset, len(d.text))]
	return &SyntaxError{
		File: d.file, Msg: msg,
		Line:   1 + bytes.Count(before, []byte("\n")),
		Column: len(before) - bytes.LastIndexByte(before, '\n'),
	}
}

// Bytes returns the content of the file.
func (d *Document) Bytes() []byte { return append(bytes.Clone(d.mark), d.text...) }

// Raw returns the text of the value at a path of names. A name that occurs twice on the way is an
// error, because it is not clear which of both an edit should change.
func (d *Document) Raw(path ...string) (raw []byte, ok bool, err error) {
	v, err := d.find(path)
	if v == nil || err != nil {
		return nil, false, err
	}
	return bytes.Clone(d.text[v.StartOffset:v.EndOffset]), true, nil
}

// String returns the value at a path as Claude Code sees it in an environment: strings without
// quotes, numbers and booleans as they are written. It reports false for other values.
func (d *Document) String(path ...string) (value string, ok bool) {
	v, err := d.find(path)
	if v == nil || err != nil {
		return "", false
	}
	literal, ok := v.Value.(hujson.Literal)
	if !ok || literal.Kind() == 'n' {
		return "", false
	}
	return literal.String(), true
}

// Empty returns the text between the brackets of the object at a path, if it has no members.
func (d *Document) Empty(path ...string) (interior string, ok bool) {
	v, err := d.find(path)
	if v == nil || err != nil {
		return "", false
	}
	object, ok := v.Value.(*hujson.Object)
	if !ok || len(object.Members) > 0 {
		return "", false
	}
	return string(object.AfterExtra), true
}

// find returns the value at a path, or nil if it is missing.
func (d *Document) find(path []string) (*hujson.Value, error) {
	v := &d.root
	for _, name := range path {
		object, ok := v.Value.(*hujson.Object)
		if !ok {
			return nil, nil
		}
		i, err := d.member(object, name)
		if i < 0 || err != nil {
			return nil, err
		}
		v = &object.Members[i].Value
	}
	return v, nil
}

// member returns the index of a member, or -1.
func (d *Document) member(object *hujson.Object, name string) (int, error) {
	found := -1
	for i, m := range object.Members {
		if m.Name.Value.(hujson.Literal).String() != name {
			continue
		}
		if found >= 0 {
			return -1, d.problem(m.Name.StartOffset, fmt.Sprintf("%q is given twice in one object: remove one of both", name))
		}
		found = i
	}
	return found, nil
}

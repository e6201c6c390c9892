package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"
)

// Decode decodes the configuration text src: JSON with comments and trailing commas. Problems
// contain the file name, and relative paths start at its directory. Decode resolves variables and
// files, and decrypts encrypted secrets.
//
// The Config is never nil: with errors it contains what could be decoded, with defaults for the
// rest, and must not be run. Problems are sorted by position and never quote a secret or the value
// of a variable.
func Decode(file string, src []byte, env func(string) (string, bool)) (*Config, Problems) {
	return DecodeWithout(file, src, env)
}

// DecodeWithout is Decode for a command that does not use some sections, which are top-level
// fields. In them a missing variable, file or identity is not a problem, because the command may
// run without access to the balancer's secrets.
func DecodeWithout(file string, src []byte, env func(string) (string, bool), sections ...string) (*Config, Problems) {
	cfg := &Config{}
	d := &decoder{src: source{file, trimBOM(src)}, env: env, cfg: cfg, nodes: map[string]node{}, unused: sections}
	root := reflect.ValueOf(cfg).Elem()
	setDefaults(root)
	if v, ok := d.parse(); ok && d.object("", identityFirst(v), root) {
		d.check(cfg)
	}
	cfg.IdentityPath = d.vault().path
	cfg.Files, cfg.Literal = d.files, d.literal
	d.problems.sort()
	return cfg, d.problems
}

// decoder is the state of one Decode.
type decoder struct {
	src      source
	env      func(string) (string, bool)
	cfg      *Config
	identity *identityFile // nil until first needed
	problems Problems
	errors   int
	files    []string
	most     int             // maximum size of the source in bytes; 0: maxSource
	literal  Place           // the first plain secret in the file
	nodes    map[string]node // values in the file, by path
	// commandEnv is the environment of shell commands, by path.
	commandEnv map[string][]string
	unused     []string // sections in which references may be missing
	missing    int      // number of values with a missing reference
}

// uses reports whether the caller uses the section of a path.
func (d *decoder) uses(path string) bool {
	section := path
	if end := strings.IndexAny(path, ".["); end >= 0 {
		section = path[:end]
	}
	return !slices.Contains(d.unused, section)
}

// node is a value in the file.
type node struct {
	offset int
	ok     bool   // decoded without an error
	shown  string // the text of a string, if messages may quote it
}

// label returns a name for the value in a message.
func (n node) label() string {
	if n.shown == "" {
		return "this value"
	}
	return fmt.Sprintf("%.60q", n.shown)
}

// object decodes v into struct into, and reports whether v is an object.
func (d *decoder) object(path string, v hujson.Value, into reflect.Value) bool {
	obj, ok := v.Value.(*hujson.Object)
	if !ok {
		d.errorf(v.StartOffset, path, "must be an object, { … }, not %s", describe(v))
		return false
	}
	fields := fieldsOf(into.Type())
	first, suspects := map[string]int{}, map[string]int{}
	for _, m := range obj.Members {
		name := m.Name.Value.(hujson.Literal).String()
		here := join(path, name)
		if offset, dup := first[name]; dup {
			line, _ := d.src.position(offset)
			d.errorf(m.Name.StartOffset, here, "is written twice, first on line %d: remove one", line)
		} else {
			first[name] = m.Name.StartOffset
		}
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			if meant := d.unknown(m.Name.StartOffset, here, name, fields); meant != "" {
				suspects[meant] = m.Name.StartOffset
			}
			continue
		}
		d.value(here, m.Value, fields[i], into.Field(fields[i].index))
	}
	for name, offset := range suspects {
		d.suspect(join(path, name), offset)
	}
	for _, f := range fields {
		_, written := first[f.name]
		if _, suspected := suspects[f.name]; f.required && !written && !suspected {
			d.errorf(v.StartOffset, join(path, f.name), "is missing")
		}
	}
	return true
}

// value decodes v into into, the value of field f.
func (d *decoder) value(path string, v hujson.Value, f field, into reflect.Value) {
	errors, problems, missing := d.errors, len(d.problems), d.missing
	n := node{offset: v.StartOffset}
	switch f.shape {
	case shapeSection:
		if !d.shorthand(path, v, f, into) {
			d.object(path, v, into)
		}
	case shapeList:
		d.list(path, v, f, into)
	case shapeBoolean:
		d.boolean(path, v, into)
	case shapeWhole, shapeNumber:
		d.number(path, v, f, into)
	case shapeDuration:
		n.shown = d.duration(path, v, f, into)
	default:
		n.shown = d.text(path, v, f, into)
	}
	n.ok = d.errors == errors
	if leaf := v.Value.Kind() == '"'; leaf && d.missing > missing && !d.uses(path) {
		d.errors, d.problems = errors, d.problems[:problems]
	}
	d.nodes[path] = n
}

// list decodes v into slice into. An invalid element keeps its index, so that paths and indices
// agree.
func (d *decoder) list(path string, v hujson.Value, f field, into reflect.Value) {
	element := f.element()
	array, ok := v.Value.(*hujson.Array)
	if !ok {
		d.errorf(v.StartOffset, path, "must be a list, [ … ], not %s", describe(v))
		return
	}
	into.Set(reflect.MakeSlice(f.typ, len(array.Elements), len(array.Elements)))
	for i, e := range array.Elements {
		if element.shape == shapeSection {
			setDefaults(into.Index(i))
		}
		d.value(fmt.Sprintf("%s[%d]", path, i), e, element, into.Index(i))
	}
	if low, _ := f.bounds(); len(array.Elements) < int(low) {
		d.errorf(v.StartOffset, path, "is empty: at least %d needed", int(low))
	}
}

// wrote returns the value in the file at path, if it could be decoded.
func (d *decoder) wrote(path string) (node, bool) {
	n, ok := d.nodes[path]
	return n, ok && n.ok
}

// join appends a field's name to a path.
func join(path, name string) string {
	if !isPlainName(name) {
		return fmt.Sprintf("%s[%s]", path, strconv.Quote(shorten(name)))
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// describe returns a name for the kind of a value.
func describe(v hujson.Value) string {
	switch v.Value.Kind() {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 'n':
		return "null: leave the field out for its default"
	default:
		return v.Value.(hujson.Literal).String()
	}
}

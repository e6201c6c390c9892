package config

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

const (
	// maxSource bounds a configuration file.
	maxSource = 1 << 20
	// maxDepth bounds the nesting of a file, because the parser's stack grows with it.
	maxDepth = 100
)

// parse parses the text. It returns false if there is nothing to decode.
func (d *decoder) parse() (hujson.Value, bool) {
	if offset, msg := unreadable(d.src.text, cmp.Or(d.most, maxSource)); msg != "" {
		d.errorf(offset, "", "%s", msg)
		return hujson.Value{}, false
	}
	// The parser needs a line break after a comment in the last line.
	text := append(bytes.Clone(d.src.text), '\n')
	v, err := hujson.Parse(text)
	if err == nil {
		return v, true
	}
	var line, col int
	if _, scanErr := fmt.Sscanf(err.Error(), "hujson: line %d, column %d:", &line, &col); scanErr != nil {
		line, col = 1, 1
	}
	offset := source{text: text}.offset(line, col)
	offset, msg := explain(d.src.text, min(offset, len(d.src.text)), err.Error())
	d.errorf(offset, "", "%s", msg)
	// The value before trailing data is complete, so its problems can be reported too.
	return v, strings.Contains(err.Error(), "after top-level value")
}

// unreadable returns the position and the reason why a text is not JSON at all.
func unreadable(text []byte, most int) (offset int, msg string) {
	switch {
	case len(text) > most:
		return 0, fmt.Sprintf("the file is larger than %d MiB", most>>20)
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		return 0, "the file is UTF-16: save it as UTF-8"
	case len(bytes.TrimSpace(text)) == 0:
		return 0, `the file is empty: "claude-code-lb init" writes a first one`
	case !utf8.Valid(text):
		return invalidUTF8(text), "not valid UTF-8: save the file as UTF-8"
	}
	if deep := outlineOf(text).tooDeep; deep >= 0 {
		return deep, "brackets are nested too deeply"
	}
	return 0, ""
}

// invalidUTF8 returns the offset of the first byte that is not part of a character.
func invalidUTF8(text []byte) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(text)
}

// explain describes in plain words why the parser stopped at offset. It quotes at most one
// character, because the text may be a secret.
func explain(text []byte, offset int, reason string) (int, string) {
	has := func(s string) bool { return strings.Contains(reason, s) }
	rest := text[offset:]
	r, _ := utf8.DecodeRune(rest)
	switch {
	case has("unexpected EOF"):
		return unclosed(text)
	case has("after top-level value"):
		return offset, "the configuration ends before this: remove the rest, or a bracket too many"
	case len(rest) == 0:
		return offset, "the file ends too early"
	case has("in line comment"):
		return offset, "a comment cannot hold this invisible line separator"
	case has("after object name"):
		return offset, `expected ":" after the name of the field`
	case has("at start of object name"), r == '\'', r == '“', r == '”', r == '`':
		return offset, `names and strings are written in double quotes, "like this"`
	case (has("after object value") || has("after array value")) && (r == '"' || r == '{' || r == '['):
		return offset, "a comma is missing before this"
	case has("after object value"):
		return offset, fmt.Sprintf(`expected "," or "}", found %s`, character(r))
	case has("after array value"):
		return offset, fmt.Sprintf(`expected "," or "]", found %s`, character(r))
	case has("invalid literal"):
		return offset, explainLiteral(rest)
	case r == ',' || r == '}' || r == ']':
		return offset, fmt.Sprintf("a value is missing before this %s", character(r))
	default:
		return offset, fmt.Sprintf("expected a value, found %s", character(r))
	}
}

func character(r rune) string {
	if unicode.IsPrint(r) {
		return `"` + string(r) + `"`
	}
	return fmt.Sprintf("the character U+%04X", r)
}

// explainLiteral describes the problem of the string, number or word that begins text.
func explainLiteral(text []byte) string {
	if text[0] == '"' {
		body, _, _ := bytes.Cut(text[1:], []byte(`"`))
		if bytes.ContainsAny(body, "\r\n") {
			return "a string runs over the end of its line: a closing quote is missing"
		}
		if bytes.ContainsFunc(body, unicode.IsControl) {
			return `a string holds a control character: write a tab as \t`
		}
		return `a string has a backslash that means nothing: write \\ for the character itself`
	}
	word := strings.ToLower(string(text[:min(len(text), 10)]))
	for _, known := range []string{"true", "false", "null"} {
		if strings.HasPrefix(word, known) {
			return "write " + known + " in lower case, and nothing after it"
		}
	}
	if strings.ContainsAny(word[:1], "0123456789+-.") {
		return "not a JSON number: no unit, no leading zero, no plus sign; anything else is a string in double quotes"
	}
	return `names and strings are written in double quotes, "like this"`
}

// unclosed returns the position of a bracket, string or comment that is not closed.
func unclosed(text []byte) (offset int, msg string) {
	o := outlineOf(text)
	switch {
	case o.cut >= 0 && text[o.cut] == '"':
		return o.cut, "this string is never closed"
	case o.cut >= 0:
		return o.cut, "this comment is never closed"
	case len(o.open) == 0:
		return len(text), "the file ends too early"
	}
	last := o.open[len(o.open)-1]
	return last, fmt.Sprintf(`this "%c" is never closed`, text[last])
}

// outline is the nesting of the brackets of a text. Offsets are -1 for absent things.
type outline struct {
	open    []int // brackets that are open at the end
	tooDeep int   // first bracket beyond maxDepth
	cut     int   // string or comment without an end
}

func outlineOf(text []byte) outline {
	o := outline{tooDeep: -1, cut: -1}
	for i := 0; i < len(text); i++ {
		length, closed := opaque(text[i:])
		switch {
		case !closed:
			o.cut = i
			return o
		case length > 0:
			i += length - 1
		case text[i] == '{' || text[i] == '[':
			o.open = append(o.open, i)
			if len(o.open) > maxDepth && o.tooDeep < 0 {
				o.tooDeep = i
			}
		case (text[i] == '}' || text[i] == ']') && len(o.open) > 0:
			o.open = o.open[:len(o.open)-1]
		}
	}
	return o
}

// opaque returns the length of the string or comment that begins text, 0 if there is none, and
// whether it ends.
func opaque(text []byte) (length int, closed bool) {
	switch {
	case text[0] == '"':
		for i := 1; i < len(text); i++ {
			switch text[i] {
			case '\\':
				i++
			case '"':
				return i + 1, true
			}
		}
		return len(text), false
	case bytes.HasPrefix(text, []byte("//")):
		line, _, _ := bytes.Cut(text, []byte("\n"))
		return len(line), true
	case bytes.HasPrefix(text, []byte("/*")):
		body, _, closed := bytes.Cut(text[2:], []byte("*/"))
		return len(body) + len("/**/"), closed
	default:
		return 0, true
	}
}

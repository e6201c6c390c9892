package connect

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/tailscale/hujson"
)

// Set returns the document with a value at a path. Objects on the way that are missing are added
// at the end. No other byte changes.
func (d *Document) Set(raw []byte, path ...string) (*Document, error) {
	holder, err := d.find(path[:len(path)-1])
	if err != nil {
		return nil, err
	}
	if holder == nil {
		with, err := d.Set([]byte("{}"), path[:len(path)-1]...)
		if err != nil {
			return nil, err
		}
		return with.Set(raw, path...)
	}
	object, ok := holder.Value.(*hujson.Object)
	if !ok {
		return nil, d.problem(holder.StartOffset, fmt.Sprintf("%q is not an object, { … }: correct or remove it", strings.Join(path[:len(path)-1], ".")))
	}
	name := path[len(path)-1]
	i, err := d.member(object, name)
	if err != nil {
		return nil, err
	}
	if i >= 0 {
		v := object.Members[i].Value
		return d.splice(span{v.StartOffset, v.EndOffset, string(raw)})
	}
	before, colon := d.layout(holder, object, path[:len(path)-1])
	member := before + string(hujson.String(name)) + colon + string(raw)
	if len(object.Members) == 0 {
		return d.splice(d.fill(holder, object, member, path[:len(path)-1]))
	}
	return d.splice(appendMember(d.text, holder, object, before, member)...)
}

// WithVariables returns the document with variables of the environment, each a name and a value.
func (d *Document) WithVariables(variables [][2]string) (*Document, error) {
	for _, v := range variables {
		with, err := d.Set([]byte(hujson.String(v[1])), "env", v[0])
		if err != nil {
			return nil, err
		}
		d = with
	}
	return d, nil
}

// appendMember adds a member behind the last one. Comments behind that one stay with it.
func appendMember(text []byte, holder *hujson.Value, object *hujson.Object, before, member string) []span {
	last := object.Members[len(object.Members)-1].Value
	end := holder.EndOffset - 1
	at := end - len(trailingSpace(object.AfterExtra))
	if bytes.Contains(text[last.EndOffset:at], []byte("//")) && !strings.Contains(before, "\n") {
		member = "\n" + member
	}
	if last.AfterExtra != nil { // a comma follows
		return []span{{at, at, member + ","}}
	}
	return []span{{last.EndOffset, last.EndOffset, ","}, {at, at, member}}
}

// fill adds the first member of an object.
func (d *Document) fill(holder *hujson.Value, object *hujson.Object, member string, path []string) span {
	at := holder.StartOffset + 1
	if strings.HasPrefix(member, lineBreak(d.text)) && !bytes.Contains(object.AfterExtra, []byte("\n")) {
		member += lineBreak(d.text) + d.indentation(path)
	}
	return span{at, at, member}
}

// layout returns the space before the name of a new member, and its colon with the space around it,
// as its neighbours have them.
func (d *Document) layout(holder *hujson.Value, object *hujson.Object, path []string) (before, colon string) {
	if n, all := len(object.Members), len(d.top.Members); n > 0 {
		before, colon = d.spaceBefore(object.Members[n-1]), d.colonOf(object.Members[n-1])
		if n == 1 && all > 1 && before == "" { // the space behind a bracket is not that behind a comma
			if space := d.spaceBefore(d.top.Members[all-1]); !strings.Contains(space, "\n") {
				before = space
			}
		}
		return before, colon
	}
	colon = ": "
	for _, m := range d.top.Members {
		if m.Value.StartOffset != holder.StartOffset {
			colon = d.colonOf(m)
			break
		}
	}
	if n := len(d.top.Members); n > 0 && holder != &d.root && !strings.Contains(d.spaceBefore(d.top.Members[n-1]), "\n") {
		return "", colon
	}
	return lineBreak(d.text) + d.indentation(path) + d.unit(), colon
}

// spaceBefore returns the space before the name of a member, without blank lines.
func (d *Document) spaceBefore(m hujson.ObjectMember) string {
	space := string(trailingSpace(m.Name.BeforeExtra))
	if i := strings.LastIndexByte(space, '\n'); i >= 0 {
		return lineBreak(d.text) + space[i+1:]
	}
	return space
}

// colonOf returns the colon of a member with the space around it.
func (d *Document) colonOf(m hujson.ObjectMember) string {
	colon := string(d.text[m.Name.EndOffset:m.Value.StartOffset])
	if strings.Trim(colon, " \t") != ":" {
		return ": "
	}
	return colon
}

// indentation returns the space at the beginning of the line on which the object at a path is.
func (d *Document) indentation(path []string) string {
	v, err := d.find(path)
	if len(path) == 0 || v == nil || err != nil {
		return ""
	}
	line := d.text[bytes.LastIndexByte(d.text[:v.StartOffset], '\n')+1:]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

// unit returns the indentation of one level.
func (d *Document) unit() string {
	for _, m := range d.top.Members {
		if space := d.spaceBefore(m); strings.Contains(space, "\n") && strings.Trim(space, "\r\n") != "" {
			return strings.Trim(space, "\r\n")
		}
	}
	return "  "
}

// Remove returns the document without the member at a path, if there is one. interior is the text
// between the brackets of its object, if that was its only member.
func (d *Document) Remove(interior string, path ...string) (*Document, error) {
	holder, err := d.find(path[:len(path)-1])
	if holder == nil || err != nil {
		return d, err
	}
	object, ok := holder.Value.(*hujson.Object)
	if !ok {
		return d, nil
	}
	i, err := d.member(object, path[len(path)-1])
	if i < 0 || err != nil {
		return d, err
	}
	m := object.Members[i]
	if len(object.Members) == 1 && len(bytes.TrimSpace(object.AfterExtra)) == 0 && len(bytes.TrimSpace(m.Name.BeforeExtra)) == 0 {
		return d.splice(span{holder.StartOffset + 1, holder.EndOffset - 1, interior})
	}
	start := m.Name.StartOffset - len(trailingSpace(m.Name.BeforeExtra))
	own := span{start, m.Value.EndOffset, ""}
	switch last := len(object.Members) - 1; {
	case i < last || m.Value.AfterExtra != nil:
		comma := m.Value.EndOffset + len(m.Value.AfterExtra)
		return d.splice(own, span{comma, comma + 1, ""})
	case i > 0:
		previous := object.Members[i-1].Value
		comma := previous.EndOffset + len(previous.AfterExtra)
		return d.splice(span{comma, comma + 1, ""}, own)
	}
	return d.splice(own)
}

// span is a part of a text with its replacement.
type span struct {
	start, end int
	with       string
}

// splice replaces parts of the text, which come in order.
func (d *Document) splice(parts ...span) (*Document, error) {
	var out []byte
	at := 0
	for _, p := range parts {
		out = append(append(out, d.text[at:p.start]...), p.with...)
		at = p.end
	}
	out = append(out, d.text[at:]...)
	return parse(d.file, append(bytes.Clone(d.mark), out...), d.jwcc)
}

// trailingSpace returns the white space at the end of the text between two values.
func trailingSpace(extra []byte) []byte {
	return extra[len(bytes.TrimRight(extra, " \t\r\n")):]
}

// lineBreak returns the line break that a text uses.
func lineBreak(text []byte) string {
	if bytes.Contains(text, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

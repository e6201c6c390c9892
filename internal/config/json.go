package config

import (
	"bytes"
	"encoding/json"
)

// document is a JSON object that keeps the order of its members.
type document []member

type member struct {
	name  string
	value any
}

func (d *document) add(name string, value any) { *d = append(*d, member{name, value}) }

// MarshalJSON implements json.Marshaler.
func (d document) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range d {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, encode(m.name, "")...), ':')
		b = append(b, encode(m.value, "")...)
	}
	return append(b, '}'), nil
}

// encode returns v as JSON for people: without the escapes that only HTML needs.
func encode(v any, indent string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		panic("config: encode: " + err.Error()) // strings, numbers and documents of them can always be encoded
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

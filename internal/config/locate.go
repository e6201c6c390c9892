package config

import (
	"strings"

	"github.com/tailscale/hujson"
)

// Locate returns the position of a value in the text of a configuration file by the path of its
// field, such as servers[0].url. It returns the beginning of the file if there is no such value.
func Locate(src []byte, path string) (line, col int) {
	text := trimBOM(src)
	v, err := hujson.Parse(append([]byte(nil), text...))
	if err != nil {
		return 1, 1
	}
	at := v.Find(pointerTo(path))
	if at == nil {
		return 1, 1
	}
	return source{text: text}.position(at.StartOffset)
}

// pointerTo converts a path of a Problem to a JSON pointer.
func pointerTo(path string) string {
	return "/" + strings.NewReplacer("[", "/", "]", "", ".", "/").Replace(path)
}

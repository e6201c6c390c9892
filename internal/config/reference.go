package config

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// Reference returns a Markdown table of every field: path, type, default and meaning.
func Reference() []byte {
	var b strings.Builder
	b.WriteString("| Field | Type | Default | Meaning |\n|---|---|---|---|\n")
	for _, l := range listings("", reflect.TypeFor[Config]()) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", l.path, typeName(l.field), defaultName(l.field), meaning(l.field))
	}
	return []byte(b.String())
}

func typeName(f field) string {
	switch f.shape {
	case shapeChoice:
		return "`" + strings.Join(f.enum, "`, `") + "`"
	case shapeBoolean:
		return "true, false"
	case shapeWhole:
		return "whole number"
	case shapeNumber:
		return "number"
	case shapeDuration:
		return "duration"
	case shapeSection:
		return "object"
	case shapeList:
		if f.element().shape == shapeSection {
			if _, ok := shorthandOf(f.element().typ); ok {
				return "list of strings or objects"
			}
			return "list of objects"
		}
		if f.enum != nil {
			return "list of `" + strings.Join(f.enum, "`, `") + "`"
		}
		return "list of strings"
	default:
		return "string"
	}
}

// defaultName returns a field's default as it would be written in the file.
func defaultName(f field) string {
	switch {
	case f.required:
		return "required"
	case f.def == "":
		return ""
	case f.shape == shapeText, f.shape == shapeChoice, f.shape == shapeDuration:
		return "`\"" + f.def + "\"`"
	default:
		return "`" + f.def + "`"
	}
}

// meaning returns the field's description with its 'words' as code, and its bounds.
func meaning(f field) string {
	out := f.doc
	if f.deprecated != "" {
		out = "Deprecated. " + f.deprecated + " " + out
	}
	out = regexp.MustCompile(`'([^']+)'`).ReplaceAllString(out, "`$1`")
	switch {
	case f.max != "":
		out += fmt.Sprintf(" From %s to %s.", cmp.Or(f.min, "0"), f.max)
	case f.shape == shapeDuration && f.min != "":
		out += fmt.Sprintf(" At least %s.", f.min)
	}
	if f.zeroIsUnset {
		out += " 0 stands for the default."
	}
	return out
}

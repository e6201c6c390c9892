package config

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
)

// variable matches strings with a variable, whose value is unknown to a schema.
const variable = `\$\{`

// Schema returns the JSON Schema (draft 2020-12) of the file. A file that Decode accepts and that
// contains no empty strings matches it; rules for several fields are left to Decode.
func Schema() []byte {
	root := document{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "claude-code-lb configuration"},
	}
	root = append(root, objectSchema(reflect.TypeFor[Config]())...)
	return append(encode(root, "  "), '\n')
}

func objectSchema(t reflect.Type) document {
	var properties document
	var required []string
	for _, f := range fieldsOf(t) {
		properties.add(f.name, fieldSchema(f))
		if f.required {
			required = append(required, f.name)
		}
	}
	out := document{{"type", "object"}, {"additionalProperties", false}}
	if required != nil {
		out.add("required", required)
	}
	out.add("properties", properties)
	return out
}

// fieldSchema returns the schema of one field: its description, then its values.
func fieldSchema(f field) document {
	var out document
	if f.doc != "" {
		out.add("description", f.doc)
	}
	if f.deprecated != "" {
		out.add("deprecated", true)
	}
	if f.def != "" {
		out.add("default", defaultValue(f))
	}
	return append(out, valueSchema(f)...)
}

func valueSchema(f field) document {
	low, high := f.bounds()
	limits := document{{"minimum", shortest(low)}}
	if !math.IsInf(high, 1) {
		limits.add("maximum", shortest(high))
	}
	switch f.shape {
	case shapeChoice:
		return document{{"anyOf", []document{{{"enum", f.enum}}, {{"type", "string"}, {"pattern", variable}}}}}
	case shapeBoolean:
		return document{{"type", "boolean"}}
	case shapeWhole:
		return append(document{{"type", "integer"}}, limits...)
	case shapeNumber:
		return append(document{{"type", "number"}}, limits...)
	case shapeDuration:
		if f.zeroIsUnset {
			limits[0].value = 0
		}
		return document{{"anyOf", []document{
			append(document{{"type", "number"}}, limits...),
			{{"type", "string"}, {"pattern", `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$|` + variable}},
		}}}
	case shapeSection:
		if short, ok := shorthandOf(f.typ); ok {
			return document{{"anyOf", []document{valueSchema(short), objectSchema(f.typ)}}}
		}
		return objectSchema(f.typ)
	case shapeList:
		out := document{{"type", "array"}, {"items", valueSchema(f.element())}}
		if f.min != "" {
			out.add("minItems", shortest(low))
		}
		_, short := shorthandOf(f.typ.Elem())
		if short || f.element().shape == shapeChoice {
			out.add("uniqueItems", true)
		}
		return out
	}
	out := document{{"type", "string"}}
	if f.pattern != "" {
		out.add("pattern", f.pattern+"|"+variable)
	}
	return out
}

// defaultValue returns a field's default as it would be written in the file.
func defaultValue(f field) any {
	switch f.shape {
	case shapeBoolean:
		return f.def == "true"
	case shapeWhole, shapeNumber, shapeDuration:
		return shortest(f.number(f.def))
	default:
		return f.def
	}
}

// shortest formats a number without exponent.
func shortest(n float64) json.Number {
	return json.Number(strconv.FormatFloat(n, 'f', -1, 64))
}

package config

import (
	"math"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// shape is the form of a field's value in the file.
type shape int

const (
	shapeText     shape = iota // a string
	shapeSecret                // a string that is never shown
	shapeChoice                // one of a few strings
	shapeBoolean               // true or false
	shapeWhole                 // a number without fraction
	shapeNumber                // any number
	shapeDuration              // a number of seconds or a string such as "90s"
	shapeAddress               // a string that is a URL
	shapeSection               // an object with fields
	shapeList                  // a list of sections, secrets, texts or choices
)

// maxDuration detects typing errors that would mean waits of years.
const maxDuration = 24 * time.Hour

// maxWhole keeps sums of weights far from overflow.
const maxWhole = 1<<31 - 1

// field is the content of the struct tags of one field.
type field struct {
	name       string
	index      int // in its struct
	typ        reflect.Type
	shape      shape
	doc        string
	def        string // "" if there is none
	enum       []string
	min, max   string
	pattern    string
	deprecated string
	required   bool

	zeroIsUnset bool
	omitZero    bool
	shell       bool
	shorthand   bool
	onlyURL     bool
	isPath      bool
}

// fieldsOf returns the fields of struct t that are part of the file, in order.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		tag := sf.Tag
		name := tag.Get("name")
		if name == "" {
			continue
		}
		f := field{
			name: name, index: i, typ: sf.Type, shape: shapeOf(sf.Type),
			doc: tag.Get("doc"), def: tag.Get("default"), min: tag.Get("min"), max: tag.Get("max"), pattern: tag.Get("pattern"),
			deprecated: tag.Get("deprecated"), required: tag.Get("required") == "true",
			zeroIsUnset: tag.Get("zero") == "default", omitZero: tag.Get("omit") == "zero", shell: tag.Get("expand") == "shell", shorthand: tag.Get("shorthand") == "true", onlyURL: tag.Get("secret") == "url",
			isPath: tag.Get("path") == "true",
		}
		if enum := tag.Get("enum"); enum != "" {
			f.enum = strings.Split(enum, ",")
			if f.shape != shapeList { // otherwise its elements are choices
				f.shape = shapeChoice
			}
		}
		fields = append(fields, f)
	}
	return fields
}

func shapeOf(t reflect.Type) shape {
	switch t {
	case reflect.TypeFor[Secret]():
		return shapeSecret
	case reflect.TypeFor[time.Duration]():
		return shapeDuration
	case reflect.TypeFor[*url.URL]():
		return shapeAddress
	}
	switch t.Kind() {
	case reflect.String:
		return shapeText
	case reflect.Bool:
		return shapeBoolean
	case reflect.Int:
		return shapeWhole
	case reflect.Float64:
		return shapeNumber
	case reflect.Struct:
		return shapeSection
	case reflect.Slice:
		return shapeList
	}
	panic("config: no rule for fields of type " + t.String())
}

// element describes the elements of a list.
func (f field) element() field {
	element := field{name: f.name, typ: f.typ.Elem(), shape: shapeOf(f.typ.Elem()), enum: f.enum}
	if f.enum != nil {
		element.shape = shapeChoice
	}
	return element
}

// bounds returns the smallest and the largest value of a numeric field, durations in seconds.
func (f field) bounds() (low, high float64) {
	switch f.shape {
	case shapeDuration:
		high = maxDuration.Seconds()
	case shapeWhole:
		high = maxWhole
	default:
		high = math.Inf(1)
	}
	if f.min != "" {
		low = f.number(f.min)
	}
	if f.max != "" {
		high = f.number(f.max)
	}
	return low, high
}

// number parses a number in a tag, durations in seconds.
func (f field) number(tag string) float64 {
	if f.shape == shapeDuration {
		d, err := time.ParseDuration(tag)
		must(f, err)
		return d.Seconds()
	}
	n, err := strconv.ParseFloat(tag, 64)
	must(f, err)
	return n
}

// setDefaults sets the fields of struct v to the defaults of their tags.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		setDefault(f, v.Field(f.index))
	}
}

func setDefault(f field, v reflect.Value) {
	if f.shape == shapeSection {
		setDefaults(v)
		return
	}
	if f.def == "" {
		v.SetZero()
		return
	}
	switch f.shape {
	case shapeText, shapeChoice:
		v.SetString(f.def)
	case shapeBoolean:
		v.SetBool(f.def == "true")
	case shapeWhole:
		v.SetInt(int64(f.number(f.def)))
	case shapeNumber:
		v.SetFloat(f.number(f.def))
	case shapeDuration:
		d, err := time.ParseDuration(f.def)
		must(f, err)
		v.SetInt(int64(d))
	}
}

// must panics on an invalid struct tag: a mistake in this package, found by any test.
func must(f field, err error) {
	if err != nil {
		panic("config: tag of " + f.name + ": " + err.Error())
	}
}

// listing is one line of the flat list of all fields.
type listing struct {
	path string // such as servers[].url
	field
}

// listings returns all fields of struct t and of its sections; prefix is "" or ends with a dot.
func listings(prefix string, t reflect.Type) []listing {
	var out []listing
	for _, f := range fieldsOf(t) {
		path := prefix + f.name
		out = append(out, listing{path, f})
		switch {
		case f.shape == shapeSection:
			out = append(out, listings(path+".", f.typ)...)
		case f.shape == shapeList && f.element().shape == shapeSection:
			out = append(out, listings(path+"[].", f.typ.Elem())...)
		}
	}
	return out
}

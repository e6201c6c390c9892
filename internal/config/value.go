package config

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// text decodes v into a field with a string value. It returns the text if messages may quote it: it
// is not a secret and contains no variable.
func (d *decoder) text(path string, v hujson.Value, f field, into reflect.Value) (shown string) {
	if v.Value.Kind() != '"' {
		hint := ""
		if v.Value.Kind() == '0' {
			hint = ": put it in quotes"
			if f.shape != shapeSecret {
				hint = `: write "` + v.Value.(hujson.Literal).String() + `"`
			}
		}
		d.errorf(v.StartOffset, path, "must be a string, not %s%s", describe(v), hint)
		return ""
	}
	s, plain, ok := d.expanded(path, v, f)
	if ok && f.shape == shapeSecret {
		s, ok = d.credential(path, v.StartOffset, s, plain, f)
	}
	if ok && f.shape == shapeSecret {
		s, ok = d.secret(path, v.StartOffset, s, plain, f)
	}
	if ok && f.isPath {
		ok = d.pathText(path, v.StartOffset, s)
	}
	if ok && f.shape == shapeSecret && plain {
		d.warnOfForgottenBraces(path, v.StartOffset, s, f)
	}
	if !ok {
		return ""
	}
	if plain && f.shape != shapeSecret {
		shown = s
	}
	if s == "" && f.def != "" {
		setDefault(f, into)
		return shown
	}
	switch f.shape {
	case shapeSecret:
		into.Set(reflect.ValueOf(NewSecret(s)))
	case shapeChoice:
		d.choice(path, v.StartOffset, s, shown, f, into)
	case shapeAddress:
		return d.address(path, v.StartOffset, s, shown, into)
	default:
		into.SetString(s)
	}
	return shown
}

func (d *decoder) choice(path string, offset int, s, shown string, f field, into reflect.Value) {
	if slices.Contains(f.enum, s) {
		into.SetString(s)
		return
	}
	allowed := strings.Join(f.enum, ", ")
	if shown == "" {
		d.errorf(offset, path, "must be one of %s", allowed)
		return
	}
	hint := ""
	if best := nearest(s, f.enum); best != "" {
		hint = `, did you mean "` + best + `"?`
	}
	d.errorf(offset, path, "%.60q is not one of %s%s", shown, allowed, hint)
}

func (d *decoder) boolean(path string, v hujson.Value, into reflect.Value) {
	switch v.Value.Kind() {
	case 't', 'f':
		into.SetBool(v.Value.(hujson.Literal).Bool())
		return
	case '"':
		switch s := strings.ToLower(v.Value.(hujson.Literal).String()); s {
		case "true", "yes", "on", "1":
			d.errorf(v.StartOffset, path, "must be true or false, not a string: write true without quotes")
			return
		case "false", "no", "off", "0", "":
			d.errorf(v.StartOffset, path, "must be true or false, not a string: write false without quotes")
			return
		}
	}
	d.errorf(v.StartOffset, path, "must be true or false, not %s", describe(v))
}

func (d *decoder) number(path string, v hujson.Value, f field, into reflect.Value) {
	kind := "a number"
	if f.shape == shapeWhole {
		kind = "a whole number"
	}
	literal, _ := v.Value.(hujson.Literal)
	if literal.Kind() != '0' {
		hint := ""
		if s := literal.String(); literal.Kind() == '"' && isNumber(s) {
			hint = ": write " + s + " without quotes"
		}
		d.errorf(v.StartOffset, path, "must be %s, not %s%s", kind, describe(v), hint)
		return
	}
	n, err := strconv.ParseFloat(string(literal), 64)
	switch {
	case err != nil:
		d.errorf(v.StartOffset, path, "is too large")
	case f.shape == shapeWhole && n != math.Trunc(n):
		d.errorf(v.StartOffset, path, "must be a whole number, not %s", shorten(string(literal)))
	case !d.within(path, v.StartOffset, n, f):
	case f.shape == shapeWhole:
		into.SetInt(int64(n))
	default:
		into.SetFloat(n)
	}
}

func (d *decoder) duration(path string, v hujson.Value, f field, into reflect.Value) (shown string) {
	var seconds float64
	switch v.Value.Kind() {
	case '0':
		n, err := strconv.ParseFloat(string(v.Value.(hujson.Literal)), 64)
		if err != nil {
			d.errorf(v.StartOffset, path, "is too large")
			return ""
		}
		seconds = n
	case '"':
		s, plain, ok := d.expanded(path, v, f)
		if !ok {
			return ""
		}
		if plain {
			shown = s
		}
		parsed, err := time.ParseDuration(s)
		if err != nil {
			hint := `such as "90s" or "10m"`
			if plain && isNumber(s) {
				hint = "with a unit: write " + s + ` without quotes, or "` + s + `s"`
			}
			d.errorf(v.StartOffset, path, "%s is not a duration %s", node{shown: shown}.label(), hint)
			return shown
		}
		seconds = parsed.Seconds()
	default:
		d.errorf(v.StartOffset, path, `must be a number of seconds or a string such as "90s", not %s`, describe(v))
		return ""
	}
	switch {
	case seconds == 0 && f.zeroIsUnset:
		setDefault(f, into)
	case d.within(path, v.StartOffset, seconds, f):
		into.SetInt(int64(math.Round(seconds * float64(time.Second))))
	}
	return shown
}

// within reports n, in seconds for a duration, if it is out of the bounds of f.
func (d *decoder) within(path string, offset int, n float64, f field) bool {
	low, high := f.bounds()
	bound := func(x float64) string {
		if f.shape == shapeDuration {
			return formatDuration(time.Duration(x * float64(time.Second)))
		}
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	switch {
	case n < 0:
		d.errorf(offset, path, "must not be negative")
	case n < low:
		d.errorf(offset, path, "must be at least %s", bound(low))
	case n > high:
		d.errorf(offset, path, "must be at most %s", bound(high))
	default:
		return true
	}
	return false
}

// formatDuration formats d without zero units: 10m, not 10m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	other := func(r rune) bool { return !strings.ContainsRune("0123456789.-", r) }
	return err == nil && len(s) <= 20 && !strings.ContainsFunc(s, other)
}

// isPlainName reports whether a field's name needs no quotes in a path.
func isPlainName(s string) bool {
	other := func(r rune) bool { return !strings.ContainsRune("_$-", r) && !isAlphanumeric(r) }
	return s != "" && len(s) <= 40 && !strings.ContainsFunc(s, other)
}

// isAlphanumeric reports whether r is an ASCII letter or digit.
func isAlphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// shorten limits the length of a quoted text in a message.
func shorten(s string) string {
	const limit = 40
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit]) + "…"
}

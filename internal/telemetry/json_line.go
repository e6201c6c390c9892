package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
)

// jsonLine is a line of the log while it is written.
type jsonLine struct {
	text []byte
	add  func(slog.Attr) // is attr, made once for all listings
	json *json.Encoder   // writes to text; nil until something needs it
}

func newJSONLine(text []byte) *jsonLine {
	l := &jsonLine{text: text}
	l.add = func(a slog.Attr) { l.attr(a) }
	return l
}

// begin writes what every line begins with.
func (l *jsonLine) begin(r *slog.Record) {
	b := append(l.text, '{')
	if !r.Time.IsZero() {
		b = appendTime(append(b, `"time":`...), r.Time)
		b = append(b, ',')
	}
	b = append(b, `"level":"`...)
	b = append(b, r.Level.String()...)
	b = append(b, `","msg":`...)
	l.text = appendString(b, r.Message)
}

// open begins groups, one in the other.
func (l *jsonLine) open(groups []string) {
	for _, name := range groups {
		l.text = append(appendKey(l.text, name), '{')
	}
}

// appendKey begins a member of an object. It follows another one unless the object has just been opened.
func appendKey(b []byte, name string) []byte {
	if len(b) > 0 && b[len(b)-1] == '{' {
		b = append(b, '"')
	} else {
		b = append(b, ',', '"')
	}
	return append(appendText(b, name), '"', ':')
}

// attrs writes attributes; it reports false if all were empty.
func (l *jsonLine) attrs(attrs []slog.Attr) bool {
	some := false
	for _, a := range attrs {
		some = l.attr(a) || some
	}
	return some
}

// attr writes an attribute; it reports false if that is empty.
func (l *jsonLine) attr(a slog.Attr) bool {
	v := a.Value
	kind := v.Kind()
	if kind == slog.KindLogValuer {
		if list, ok := v.Any().(Listing); ok && a.Key == "" {
			list(l.add)
			return true
		}
		v = v.Resolve()
		kind = v.Kind()
	}
	switch kind {
	case slog.KindGroup:
		return l.group(a.Key, v.Group())
	case slog.KindAny:
		return l.special(a.Key, v.Any())
	}
	b := appendKey(l.text, a.Key)
	switch kind {
	case slog.KindString:
		b = appendString(b, v.String())
	case slog.KindInt64:
		b = strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		b = strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindBool:
		b = strconv.AppendBool(b, v.Bool())
	case slog.KindTime:
		b = appendTime(b, v.Time())
	case slog.KindDuration:
		b = l.float(b, v.Duration().Seconds())
	case slog.KindFloat64:
		b = l.float(b, v.Float64())
	}
	l.text = b
	return true
}

// group writes attributes as an object of their own, those of a group without a name as if they were in none.
func (l *jsonLine) group(name string, attrs []slog.Attr) bool {
	switch {
	case len(attrs) == 0:
		return true // as with slog: the group around one that turned out to be empty is kept
	case name == "":
		return l.attrs(attrs)
	}
	start := len(l.text)
	l.open([]string{name})
	if !l.attrs(attrs) {
		l.text = l.text[:start]
		return false
	}
	l.text = append(l.text, '}')
	return true
}

// special writes a value that slog knows nothing of, or nearly nothing.
func (l *jsonLine) special(key string, v any) bool {
	switch v := v.(type) {
	case nil:
		if key == "" {
			return false
		}
	case slog.Level:
		l.text = appendString(appendKey(l.text, key), v.String())
		return true
	case *slog.Source:
		return l.source(key, v)
	}
	l.text = appendKey(l.text, key)
	l.value(v)
	return true
}

func (l *jsonLine) source(key string, s *slog.Source) bool {
	if s == nil || *s == (slog.Source{}) {
		return false
	}
	var attrs []slog.Attr
	if s.Function != "" {
		attrs = append(attrs, slog.String("function", s.Function))
	}
	if s.File != "" {
		attrs = append(attrs, slog.String("file", s.File))
	}
	if s.Line != 0 {
		attrs = append(attrs, slog.Int("line", s.Line))
	}
	return l.group(key, attrs)
}

// value writes an error as its text and everything else as json.Marshal does. A value that fails is no reason to lose the line.
func (l *jsonLine) value(v any) {
	start := len(l.text)
	fail := func(text string) { l.text = appendString(l.text[:start], text) }
	defer func() {
		switch r := recover(); {
		case r == nil:
		case reflect.ValueOf(v).Kind() == reflect.Pointer && reflect.ValueOf(v).IsNil(): // its method does not expect that
			fail("<nil>")
		default:
			fail(fmt.Sprintf("!PANIC: %v", r))
		}
	}()
	if err, ok := v.(error); ok {
		if _, ok := v.(json.Marshaler); !ok {
			l.text = appendString(l.text, err.Error())
			return
		}
	}
	if l.json == nil {
		l.json = json.NewEncoder(l)
		l.json.SetEscapeHTML(false)
	}
	if err := l.json.Encode(v); err != nil {
		fail(fmt.Sprintf("!ERROR:%v", err))
		return
	}
	l.text = l.text[:len(l.text)-1] // the line goes on
}

// Write is for the encoder.
func (l *jsonLine) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	return len(p), nil
}

// float writes a number as json.Marshal does.
func (l *jsonLine) float(b []byte, f float64) []byte {
	// Nearly all are durations of whole milliseconds: a number of up to 15 digits is the shortest that means this float64.
	if f > 0 && f < 1e12 {
		if n := uint64(f*1000 + 0.5); float64(n)/1000 == f {
			return appendThousandths(b, n)
		}
	}
	if size := math.Abs(f); f == 0 || size >= 1e-6 && size < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	l.text = b
	l.value(f)
	return l.text
}

func appendThousandths(b []byte, n uint64) []byte {
	b = strconv.AppendUint(b, n/1000, 10)
	switch rest := n % 1000; {
	case rest == 0:
		return b
	case rest%100 == 0:
		return append(b, '.', byte('0'+rest/100))
	case rest%10 == 0:
		return append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10))
	default:
		return append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	}
}

func appendTime(b []byte, t time.Time) []byte {
	if y := t.Year(); y < 0 || y >= 10000 {
		return appendString(b, "!ERROR:time.Time year outside of range [0,9999]")
	}
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendString writes a string of JSON.
func appendString(b []byte, s string) []byte {
	return append(appendText(append(b, '"'), s), '"')
}

// appendText writes the inside of a string of JSON.
func appendText(b []byte, s string) []byte {
	if literal(s) {
		return append(b, s...)
	}
	return appendEscaped(b, s)
}

// literal says whether s stands in a string of JSON as it is, as far as that is quickly told.
func literal(s string) bool {
	if len(s) < 8 {
		x := uint64(0x20_20_20_20_20_20_20_20)
		for i := range len(s) {
			x = x<<8 | uint64(s[i])
		}
		return literal8(x)
	}
	for i := 8; i < len(s); i += 8 {
		if !literal8(eight(s[i-8:])) {
			return false
		}
	}
	return literal8(eight(s[len(s)-8:]))
}

// eight is the first eight bytes of s.
func eight(s string) uint64 {
	_ = s[7] // makes it a single load
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// literal8 is literal for eight bytes: the subtractions leave the high bit of one set that is below a space, a quote or a backslash.
func literal8(x uint64) bool {
	const each, high = 0x01_01_01_01_01_01_01_01, 0x80_80_80_80_80_80_80_80
	return (x|(x-each*' ')|(x^each*'"'-each)|(x^each*'\\'-each))&high == 0
}

// appendEscaped writes the inside of a string of JSON, characters of HTML as they are.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1: // no UTF-8
			b = append(b, `\ufffd`...)
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		case r == '\u2028' || r == '\u2029': // they end a line of JavaScript
			b = append(b, '\\', 'u', '2', '0', '2', hex[r&0xf])
		default:
			b = append(b, s[:size]...)
		}
		s = s[size:]
	}
	return b
}

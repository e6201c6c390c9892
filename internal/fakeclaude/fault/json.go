package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// UnmarshalJSON reads an object, or a string in the syntax of Parse. null is the healthy response.
// Unknown fields are errors.
func (f *Fault) UnmarshalJSON(b []byte) error {
	if text, ok := jsonString(b); ok {
		parsed, err := Parse(text)
		*f = parsed
		return err
	}
	type plain Fault // without this method
	var p plain
	if err := DecodeStrict(b, &p); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	*f = Fault(p)
	return f.Validate()
}

// UnmarshalJSON reads an object, or a string in the syntax of ParseRule. Unknown fields are errors.
func (r *Rule) UnmarshalJSON(b []byte) error {
	if text, ok := jsonString(b); ok {
		parsed, err := ParseRule(text)
		*r = parsed
		return err
	}
	type plain Rule // without this method
	var p plain
	if err := DecodeStrict(b, &p); err != nil {
		return fmt.Errorf("rule: %w", err)
	}
	*r = Rule(p)
	return r.Validate()
}

func jsonString(b []byte) (string, bool) {
	if !bytes.HasPrefix(b, []byte(`"`)) {
		return "", false
	}
	var text string
	err := json.Unmarshal(b, &text)
	return text, err == nil
}

// DecodeStrict decodes one JSON value. Unknown fields and trailing data are errors.
func DecodeStrict(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}

// Join writes a list of names for an error message.
func Join[T ~string](names []T) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = string(n)
	}
	return strings.Join(parts, ", ")
}

// Duration is a time.Duration that JSON writes as "1m30s". It reads that form or a number of
// seconds.
type Duration time.Duration

// String formats d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a duration string or a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if !bytes.HasPrefix(b, []byte(`"`)) {
		var seconds float64
		if err := json.Unmarshal(b, &seconds); err != nil {
			return fmt.Errorf("duration %s: want a string like \"1.5s\" or a number of seconds", b)
		}
		if math.Abs(seconds) > 1e9 {
			return fmt.Errorf("duration %s: out of range", b)
		}
		*d = Duration(seconds * float64(time.Second))
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("duration %q: want a form like \"1.5s\" or \"200ms\"", text)
	}
	*d = Duration(parsed)
	return nil
}

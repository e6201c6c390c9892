package fault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Syntax describes what ParseRule reads, for a command's help.
const Syntax = `A fault is written KIND[=VALUE][,KEY=VALUE]…; put a value with a comma in double quotes.

  status=CODE       any status; type=, message=, code= (details.error_code), body=
  error[=TYPE]      error event in a stream (overloaded_error); at=, message=
  empty             200 without a body
  stall[=POINT]     silence at a point (start), without end or for delay=
  reset[=POINT]     TCP reset (start)
  close[=POINT]     connection closed before the response ends (start)
  end[=POINT]       clean but early end (message_delta: no message_stop)
  slow=TIME         a delay before the response header, or at=
  trickle=TIME      pauses between pieces of bytes= (16)
  html[=CODE]       a web page (200)
  gzip              compressed response; coding=deflate, br or zstd (gzip)
  malformed[=POINT] broken JSON in a stream (message_start)
  shape=NAME        200 with a body that is not a response of the API: code,
                    openai, wrapped or blank
  dialect=NAME      a healthy response in an unusual form: bom, cr, crlf,
                    nameless or chatter

  POINT is start, headers, message_start, block_start, mid_text, first_block,
  tool_block, message_delta or event:N.

  With every kind: delay=TIME before it (not gzip or dialect), header.NAME=VALUE,
  retry-after=SECONDS, bare (no rate-limit headers), and when it happens:
  p=PROBABILITY, count=N, path=PATTERN, model=PATTERN, stream=true|false,
  from=TIME, until=TIME (since the rules were set).`

// Parse reads a fault in the syntax of Syntax, without the keys of a rule. An empty text is the
// healthy response.
func Parse(text string) (Fault, error) {
	if strings.TrimSpace(text) == "" {
		return Fault{}, nil
	}
	rule, err := ParseRule(text)
	if err != nil {
		return Fault{}, err
	}
	if rule.conditional() {
		return Fault{}, fmt.Errorf("fault %q: p, count, path, model, stream, from and until belong to rules only", text)
	}
	return rule.Fault, nil
}

// ParseRule reads a rule in the syntax of Syntax.
func ParseRule(text string) (Rule, error) {
	pairs, err := splitSpec(text)
	if err != nil {
		return Rule{}, fmt.Errorf("fault %q: %w", text, err)
	}
	var r Rule
	seen := map[string]bool{}
	for i, p := range pairs {
		key := strings.ToLower(p.key)
		if !utf8.ValidString(p.key + p.value) {
			return Rule{}, fmt.Errorf("fault %q: not UTF-8", text)
		}
		if seen[key] {
			return Rule{}, fmt.Errorf("fault %q: %s is given twice", text, p.key)
		}
		seen[key] = true
		if i == 0 {
			err = r.Fault.parseKind(p)
		} else {
			err = r.parseOption(p)
		}
		if err != nil {
			return Rule{}, fmt.Errorf("fault %q: %w", text, err)
		}
	}
	if err := r.Validate(); err != nil {
		return Rule{}, fmt.Errorf("fault %q: %w", text, err)
	}
	return r, nil
}

// parseKind reads the first pair: the kind and its main value.
func (f *Fault) parseKind(p specPair) (err error) {
	f.Kind = Kind(p.key)
	if !p.hasValue {
		return nil
	}
	switch f.Kind {
	case Status, HTML:
		f.Status, err = parseInt(p)
	case Error:
		f.Type = p.value
	case Slow, Trickle:
		f.Delay, err = parseTime(p)
	case Stall, Reset, Close, End, Malformed:
		f.At = Point(p.value)
	case Shape, Dialect:
		f.Form = p.value
	case Empty, Gzip:
		err = fmt.Errorf("%s takes no value", f.Kind)
	}
	return err
}

func (r *Rule) parseOption(p specPair) (err error) {
	if name, ok := strings.CutPrefix(strings.ToLower(p.key), "header."); ok {
		r.Fault.setHeader(name, p.value)
		return nil
	}
	if p.key == "bare" {
		r.Fault.Bare = true
		if p.hasValue {
			return errors.New("bare takes no value")
		}
		return nil
	}
	if !p.hasValue || p.value == "" {
		return fmt.Errorf("%s needs a value", p.key)
	}
	switch p.key {
	case "at":
		r.Fault.At = Point(p.value)
	case "type":
		r.Fault.Type = p.value
	case "message":
		r.Fault.Message = p.value
	case "code":
		r.Fault.Code = p.value
	case "body":
		r.Fault.Body = p.value
	case "retry-after":
		r.Fault.setHeader("retry-after", p.value)
	case "delay":
		r.Fault.Delay, err = parseTime(p)
	case "bytes":
		r.Fault.Bytes, err = parseInt(p)
	case "coding":
		r.Fault.Coding = p.value
	default:
		return r.parseCondition(p)
	}
	return err
}

func (r *Rule) parseCondition(p specPair) (err error) {
	switch p.key {
	case "p":
		r.Probability, err = strconv.ParseFloat(p.value, 64)
		if err != nil || !(r.Probability > 0 && r.Probability <= 1) {
			return fmt.Errorf("p is %q, want a number above 0 and at most 1", p.value)
		}
	case "count":
		r.Count, err = parseInt(p)
	case "path":
		r.Path = p.value
	case "model":
		r.Model = p.value
	case "stream":
		stream, parseErr := strconv.ParseBool(p.value)
		if parseErr != nil {
			return fmt.Errorf("stream is %q, want true or false", p.value)
		}
		r.Stream = &stream
	case "from":
		r.From, err = parseTime(p)
	case "until":
		r.Until, err = parseTime(p)
	default:
		return fmt.Errorf("unknown key %q", p.key)
	}
	return err
}

func (f *Fault) setHeader(name, value string) {
	if f.Headers == nil {
		f.Headers = map[string]string{}
	}
	f.Headers[name] = value
}

func parseInt(p specPair) (int, error) {
	n, err := strconv.Atoi(p.value)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s is %q, want a number above 0", p.key, p.value)
	}
	return n, nil
}

func parseTime(p specPair) (Duration, error) {
	d, err := time.ParseDuration(p.value)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s is %q, want a time like 1.5s or 200ms", p.key, p.value)
	}
	return Duration(d), nil
}

type specPair struct {
	key, value string
	hasValue   bool
}

// splitSpec splits a text at its commas, and each part at its first equals sign.
func splitSpec(text string) ([]specPair, error) {
	var pairs []specPair
	for rest, more := text, true; more; {
		var p specPair
		var err error
		p, rest, more, err = cutPair(rest)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

func cutPair(text string) (p specPair, rest string, more bool, err error) {
	end := strings.IndexAny(text, "=,")
	if end < 0 {
		end = len(text)
	}
	p.key = strings.TrimSpace(text[:end])
	if p.key == "" {
		return p, "", false, errors.New("a part without a name")
	}
	if end == len(text) || text[end] == ',' {
		rest, more = strings.CutPrefix(text[end:], ",")
		return p, rest, more, nil
	}
	p.hasValue = true
	text = text[end+1:]
	if !strings.HasPrefix(text, `"`) {
		p.value, rest, more = strings.Cut(text, ",")
		p.value = strings.TrimSpace(p.value)
		return p, rest, more, nil
	}
	literal, err := strconv.QuotedPrefix(text)
	if err != nil {
		return p, "", false, fmt.Errorf("%s: unfinished quotes", p.key)
	}
	if p.value, err = strconv.Unquote(literal); err != nil {
		return p, "", false, fmt.Errorf("%s: %w", p.key, err)
	}
	rest = strings.TrimSpace(text[len(literal):])
	if rest == "" {
		return p, "", false, nil
	}
	rest, more = strings.CutPrefix(rest, ",")
	if !more {
		return p, "", false, fmt.Errorf("%s: text after the quotes", p.key)
	}
	return p, rest, true, nil
}

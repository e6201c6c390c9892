package store

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// object is a JSON object under construction. encoding/json writes the same text of a record in six
// times the time, and every request is written. Names include the comma before and the colon after;
// zero and empty values are omitted.
type object []byte

// appendEntry appends an entry as the JSON of its record.
func appendEntry(out []byte, e *ledger.Entry) []byte {
	o := object(append(out, `{"request_id":`...))
	o.quote(e.ID)
	o.always(`,"time":`, e.Start.UnixMilli())
	o.text(`,"client":`, e.Client)
	o.text(`,"session":`, e.Session)
	o.text(`,"agent":`, e.Agent)
	o.text(`,"method":`, e.Method)
	o.text(`,"path":`, e.Path)
	o.text(`,"model":`, e.Model)
	o.text(`,"server":`, e.Server())
	o.text(`,"outcome":`, string(e.Outcome))
	o.number(`,"status":`, int64(e.Status))
	o.flag(`,"stream":`, e.Stream)
	o.text(`,"routed":`, string(e.Routed))
	o.text(`,"reason":`, e.Reason)
	o.number(`,"first_byte":`, int64(e.TimeToFirstByte))
	o.number(`,"duration":`, int64(e.Duration))
	o.number(`,"waited":`, int64(e.Waited))
	o.number(`,"sent":`, e.Sent)
	o.number(`,"received":`, e.Bytes)
	for i := range e.Attempts {
		if i == 0 {
			o = append(o, `,"attempts":[`...)
		} else {
			o = append(o, ',')
		}
		o.attempt(&e.Attempts[i])
	}
	if len(e.Attempts) > 0 {
		o = append(o, ']')
	}
	o.steps(e.Steps)
	return append(o, '}')
}

func (o *object) attempt(a *ledger.Attempt) {
	u := &a.Answer.Usage
	o.always(`{"time":`, a.Start.UnixMilli())
	*o = append(*o, `,"server":`...)
	o.quote(a.Server)
	o.number(`,"status":`, int64(a.Status))
	o.text(`,"scope":`, a.Scope)
	o.text(`,"reason":`, a.Reason)
	o.text(`,"request_id":`, a.RequestID)
	o.number(`,"verdict":`, int64(a.TimeToOutcome))
	o.number(`,"duration":`, int64(a.Duration))
	o.flag(`,"served":`, a.Served)
	o.text(`,"model":`, a.Answer.Model)
	o.text(`,"stop_reason":`, a.Answer.StopReason)
	o.text(`,"service_tier":`, u.ServiceTier)
	o.text(`,"speed":`, u.Speed)
	o.text(`,"inference_geo":`, u.InferenceGeo)
	o.flag(`,"fallback":`, a.Answer.FellBack())
	o.flag(`,"known":`, a.Known())
	o.flag(`,"estimated":`, a.Estimated)
	o.number(`,"input":`, u.InputTokens)
	o.number(`,"output":`, u.OutputTokens)
	o.number(`,"cache_read":`, u.CacheReadTokens)
	o.number(`,"cache_write_5m":`, u.CacheCreation5mTokens)
	o.number(`,"cache_write_1h":`, u.CacheCreation1hTokens)
	o.number(`,"searches":`, u.WebSearchRequests)
	o.number(`,"code_runs":`, u.CodeRequests)
	o.number(`,"other_tools":`, u.OtherToolRequests)
	o.flag(`,"priced":`, a.Cost.Known)
	o.text(`,"unpriced":`, a.Cost.Unpriced)
	o.number(`,"cost":`, int64(a.Cost.Sum))
	o.number(`,"saved":`, int64(a.Cost.Saved))
	o.number(`,"wasted":`, int64(a.Cost.Wasted))
	o.number(`,"warm":`, a.ExpectedCached)
	o.number(`,"warmest":`, a.MaxExpectedCached)
	o.number(`,"guess":`, a.EstimatedInput)
	for i := range a.Extra {
		if i == 0 {
			*o = append(*o, `,"extra":[`...)
		} else {
			*o = append(*o, ',')
		}
		o.extra(&a.Extra[i])
	}
	if len(a.Extra) > 0 {
		*o = append(*o, ']')
	}
	*o = append(*o, '}')
}

func (o *object) extra(x *ledger.Extra) {
	u := &x.Usage
	*o = append(*o, `{"type":`...)
	o.quote(x.Type)
	o.text(`,"model":`, x.Model)
	o.text(`,"service_tier":`, u.ServiceTier)
	o.text(`,"speed":`, u.Speed)
	o.text(`,"inference_geo":`, u.InferenceGeo)
	o.number(`,"input":`, u.InputTokens)
	o.number(`,"output":`, u.OutputTokens)
	o.number(`,"cache_read":`, u.CacheReadTokens)
	o.number(`,"cache_write_5m":`, u.CacheCreation5mTokens)
	o.number(`,"cache_write_1h":`, u.CacheCreation1hTokens)
	o.number(`,"searches":`, u.WebSearchRequests)
	o.number(`,"cost":`, int64(x.Sum))
	*o = append(*o, '}')
}

func (o *object) always(name string, n int64) { *o = strconv.AppendInt(append(*o, name...), n, 10) }

func (o *object) number(name string, n int64) {
	if n != 0 {
		o.always(name, n)
	}
}

func (o *object) flag(name string, yes bool) {
	if yes {
		*o = append(append(*o, name...), '1')
	}
}

func (o *object) text(name, value string) {
	if value != "" {
		*o = append(*o, name...)
		o.quote(value)
	}
}

// quote writes a text, made valid, as a JSON string.
func (o *object) quote(value string) {
	*o = append(*o, '"')
	if isPlain(value) {
		*o = append(*o, value...)
	} else {
		o.escape(text(value))
	}
	*o = append(*o, '"')
}

// escape escapes a text like encoding/json, including characters that JavaScript does not allow.
func (o *object) escape(value string) {
	const hex, short, letters = "0123456789abcdef", "\b\f\n\r\t", "bfnrt"
	for _, r := range value {
		i := strings.IndexRune(short, r)
		switch {
		case r == '"' || r == '\\':
			*o = append(*o, '\\', byte(r))
		case i >= 0:
			*o = append(*o, '\\', letters[i])
		case r < ' ' || r == '\u2028' || r == '\u2029':
			*o = append(*o, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			*o = utf8.AppendRune(*o, r)
		}
	}
}

// isPlain reports whether a text is short and needs no change or escape, which is the usual case.
func isPlain(s string) bool {
	if len(s) > longestText {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

package store

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// FuzzEntriesAreWrittenAsEncodingJSONWouldWriteThem compares the encoder with encoding/json,
// because readers of ledgers rely on that format.
func FuzzEntriesAreWrittenAsEncodingJSONWouldWriteThem(f *testing.F) {
	f.Add("ann", "claude-opus-4-5", "", int64(0), uint16(0))
	f.Add("a\"b\\c/<&>\x7f", "\x00\x01\b\t\n\v\f\r\x1f", "\u2028\u2029\u2027é\U0001f600", int64(-1), uint16(0xffff))
	f.Add("a\xffb\xff\xfe", "\xed\xa0\x80\xc0\x80", strings.Repeat("é", 200), int64(1)<<62, uint16(0x5555))
	f.Add(strings.Repeat("x", longestText), strings.Repeat("x", longestText+1), strings.Repeat("x", longestText-1)+"é", int64(7), uint16(0xaaaa))
	f.Fuzz(func(t *testing.T, a, b, c string, n int64, bits uint16) {
		e := entryOf(a, b, c, n, bits)
		got, want := string(appendEntry([]byte("before"), &e)), "before"+reference(t, &e)
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// entryOf sets all stored fields of an entry; a cleared bit omits some.
func entryOf(a, b, c string, n int64, bits uint16) ledger.Entry {
	bit := func(i int) bool { return bits>>i&1 != 0 }
	one := func(i int, s string) string {
		if bit(i) {
			return s
		}
		return ""
	}
	num := func(i int) int64 {
		if bit(i) {
			return n + int64(i)
		}
		return 0
	}
	at := time.UnixMilli(n % (1 << 50))
	e := ledger.Entry{
		ID: one(0, a), Start: at, Client: one(1, b), Session: one(2, c), Agent: one(3, a), Method: one(4, b), Path: one(5, c), Model: one(6, a),
		Stream: bit(7), Sent: num(8), Status: int(num(9)), Outcome: ledger.Truncated, TimeToFirstByte: time.Duration(num(10)), Duration: time.Duration(num(11)),
		Waited: time.Duration(num(12)), Bytes: num(13), Routed: ledger.Routed(one(14, "warm")), Reason: one(15, b),
	}
	for i := range int(bits % 3) {
		e.Attempts = append(e.Attempts, ledger.Attempt{
			Server: one(i, c), Status: int(num(i + 1)), Scope: one(i+2, a), Reason: one(i+3, b), RequestID: one(i+4, c), Start: at,
			TimeToOutcome: time.Duration(num(i + 5)), Duration: time.Duration(num(i + 6)), Served: bit(i + 7), ExpectedCached: num(i + 8), MaxExpectedCached: num(i + 9), EstimatedInput: num(i + 10),
			Answer: claude.Message{
				Model: one(i+11, a), StopReason: one(i+12, b), Started: bit(i + 13), Delta: bit(i), Stopped: bit(i + 1),
				Usage: claude.Usage{
					InputTokens: num(i + 2), OutputTokens: num(i + 3), CacheReadTokens: num(i + 4), CacheCreation5mTokens: num(i + 5),
					CacheCreation1hTokens: num(i + 6), WebSearchRequests: num(i + 7), ServiceTier: one(i+8, c), Speed: one(i+9, a), InferenceGeo: one(i+10, b),
					CodeRequests: num(i + 8), OtherToolRequests: num(i + 9),
				},
			},
			Cost:      ledger.Cost{Sum: ledger.Money(num(i + 9)), Saved: ledger.Money(num(i + 10)), Wasted: ledger.Money(num(i + 11)), Known: bit(i + 12), Unpriced: one(i+13, c)},
			Estimated: bit(i + 2), Extra: extraOf(a, b, c, num(i+1), int(bits%4)),
		})
	}
	for i := range int(bits % 4) {
		e.Steps = append(e.Steps, ledger.Step{
			Kind: ledger.StepKind(one(i, a)), At: time.Duration(num(i + 1)), Took: time.Duration(num(i + 2)), Server: one(i+3, b), State: one(i+4, c),
			Ready: time.Duration(num(i + 5)), Reason: one(i+6, a), Candidates: []ledger.Candidate{{Server: one(i+7, b), Result: one(i+8, c), Cached: num(i + 9), Score: float64(num(i+10)) / 3}},
		})
	}
	return e
}

// extraOf returns further model calls.
func extraOf(a, b, c string, n int64, count int) []ledger.Extra {
	var out []ledger.Extra
	for range count {
		out = append(out, ledger.Extra{Type: a, Model: b, Sum: ledger.Money(n), Usage: claude.Usage{
			InputTokens: n, OutputTokens: n + 1, CacheReadTokens: n + 2, CacheCreation5mTokens: n + 3, CacheCreation1hTokens: n + 4, WebSearchRequests: n + 5,
			ServiceTier: c, Speed: a, InferenceGeo: b,
		}})
	}
	return out
}

// reference returns an entry's record by encoding/json.
func reference(t *testing.T, e *ledger.Entry) string {
	t.Helper()
	r := record{
		RequestID: strictText(e.ID), Time: e.Start.UnixMilli(), Client: strictText(e.Client), Session: strictText(e.Session), Agent: strictText(e.Agent),
		Method: strictText(e.Method), Path: strictText(e.Path), Model: strictText(e.Model), Server: strictText(e.Server()),
		Outcome: string(e.Outcome), Status: e.Status, Stream: flagOf(e.Stream), Routed: string(e.Routed), Reason: strictText(e.Reason),
		FirstByte: int64(e.TimeToFirstByte), Duration: int64(e.Duration), Waited: int64(e.Waited), Sent: e.Sent, Received: e.Bytes,
	}
	for i := range e.Attempts {
		r.Attempts = append(r.Attempts, referenceAttempt(&e.Attempts[i]))
	}
	for i := range e.Steps {
		r.Steps = append(r.Steps, stepOf(&e.Steps[i]))
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(&r); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func referenceAttempt(a *ledger.Attempt) attempt {
	u := &a.Answer.Usage
	var more []extra
	for _, x := range a.Extra {
		more = append(more, extra{
			Type: strictText(x.Type), Model: strictText(x.Model), ServiceTier: strictText(x.Usage.ServiceTier), Speed: strictText(x.Usage.Speed),
			InferenceGeo: strictText(x.Usage.InferenceGeo), Input: x.Usage.InputTokens, Output: x.Usage.OutputTokens, CacheRead: x.Usage.CacheReadTokens,
			CacheWrite5m: x.Usage.CacheCreation5mTokens, CacheWrite1h: x.Usage.CacheCreation1hTokens, Searches: x.Usage.WebSearchRequests, Cost: int64(x.Sum),
		})
	}
	return attempt{
		Time: a.Start.UnixMilli(), Server: strictText(a.Server), Status: a.Status, Scope: strictText(a.Scope), Reason: strictText(a.Reason), RequestID: strictText(a.RequestID),
		Verdict: int64(a.TimeToOutcome), Duration: int64(a.Duration), Served: flagOf(a.Served), Model: strictText(a.Answer.Model), StopReason: strictText(a.Answer.StopReason),
		ServiceTier: strictText(u.ServiceTier), Speed: strictText(u.Speed), InferenceGeo: strictText(u.InferenceGeo), Fallback: flagOf(a.Answer.FellBack()),
		Known: flagOf(a.Known()), Estimated: flagOf(a.Estimated),
		Input: u.InputTokens, Output: u.OutputTokens, CacheRead: u.CacheReadTokens, CacheWrite5m: u.CacheCreation5mTokens, CacheWrite1h: u.CacheCreation1hTokens,
		Searches: u.WebSearchRequests, CodeRuns: u.CodeRequests, OtherTools: u.OtherToolRequests, Extra: more,
		Priced: flagOf(a.Cost.Known), Unpriced: strictText(a.Cost.Unpriced), Cost: int64(a.Cost.Sum), Saved: int64(a.Cost.Saved), Wasted: int64(a.Cost.Wasted),
		Warm: a.ExpectedCached, Warmest: a.MaxExpectedCached, Guess: a.EstimatedInput,
	}
}

// strictText is text without its shortcut.
func strictText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), longestText)], "�"), "\x00", "�")
}

func flagOf(yes bool) flag {
	if yes {
		return 1
	}
	return 0
}

func BenchmarkEncode(b *testing.B) {
	e := usual(1)[0]
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = appendEntry(out[:0], &e)
	}
	b.SetBytes(int64(len(out)))
}

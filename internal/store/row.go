package store

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// row is a request as it is written. It is encoded when it is recorded: that spreads the work, and
// leaves only two pointers per waiting row to the garbage collector.
type row struct {
	id     int64
	entry  string // JSON
	prompt []byte // its outline, nil without one
}

// size returns the approximate memory of a row.
func (r *row) size() int { return 200 + len(r.entry) + len(r.prompt) }

// idBits are the lower bits of an id, which distinguish the requests of one millisecond.
const idBits = 20

// idFloor returns the smallest id of requests that began at t or later. Ids last until the year
// 2248.
func idFloor(t time.Time) int64 {
	return min(max(t.UnixMilli(), 0), math.MaxInt64>>idBits) << idBits
}

// numbering assigns ids. Two balancers with one ledger begin at different numbers and count with
// different steps, so that a collision is negligible with a million numbers per millisecond.
type numbering struct{ last atomic.Uint32 }

func newNumbering() *numbering {
	n := &numbering{}
	n.last.Store(rand.Uint32())
	return n
}

func (n *numbering) next(start time.Time) int64 {
	return idFloor(start) | int64(n.last.Add(1)&(1<<idBits-1))
}

// longestText bounds a field that clients or upstreams control.
const longestText = 300

// text makes a string valid for the database: bounded, valid UTF-8, without the zero byte that
// PostgreSQL rejects.
func text(s string) string {
	if isPlain(s) {
		return s
	}
	if len(s) > longestText {
		s = s[:longestText]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
}

// record is an entry in one JSON column, as appendEntry writes it. Rows are only found by their
// ids, and separate columns cost more than all of the JSON. Zero and empty values are omitted.
// Times are milliseconds since 1970, durations nanoseconds, money nano-dollars; true is 1.
type record struct {
	RequestID string    `json:"request_id"`
	Time      int64     `json:"time"`
	Client    string    `json:"client,omitempty"`
	Session   string    `json:"session,omitempty"`
	Agent     string    `json:"agent,omitempty"`
	Method    string    `json:"method,omitempty"`
	Path      string    `json:"path,omitempty"`
	Model     string    `json:"model,omitempty"`
	Server    string    `json:"server,omitempty"` // of the final response
	Outcome   string    `json:"outcome,omitempty"`
	Status    int       `json:"status,omitempty"`
	Stream    flag      `json:"stream,omitempty"`
	Routed    string    `json:"routed,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	FirstByte int64     `json:"first_byte,omitempty"`
	Duration  int64     `json:"duration,omitempty"`
	Waited    int64     `json:"waited,omitempty"`
	Sent      int64     `json:"sent,omitempty"`
	Received  int64     `json:"received,omitempty"`
	Attempts  []attempt `json:"attempts,omitempty"`
	Steps     []step    `json:"steps,omitempty"`
}

// attempt is the part of a record about one attempt.
type attempt struct {
	Time         int64   `json:"time"`
	Server       string  `json:"server"`
	Status       int     `json:"status,omitempty"`
	Scope        string  `json:"scope,omitempty"`
	Reason       string  `json:"reason,omitempty"`
	RequestID    string  `json:"request_id,omitempty"` // of the upstream
	Verdict      int64   `json:"verdict,omitempty"`
	Duration     int64   `json:"duration,omitempty"`
	Served       flag    `json:"served,omitempty"`
	Model        string  `json:"model,omitempty"`
	StopReason   string  `json:"stop_reason,omitempty"`
	ServiceTier  string  `json:"service_tier,omitempty"`
	Speed        string  `json:"speed,omitempty"`
	InferenceGeo string  `json:"inference_geo,omitempty"`
	Fallback     flag    `json:"fallback,omitempty"`  // a fallback model of the request responded
	Known        flag    `json:"known,omitempty"`     // the usage is known
	Estimated    flag    `json:"estimated,omitempty"` // a part of it is an estimate
	Input        int64   `json:"input,omitempty"`
	Output       int64   `json:"output,omitempty"`
	CacheRead    int64   `json:"cache_read,omitempty"`
	CacheWrite5m int64   `json:"cache_write_5m,omitempty"`
	CacheWrite1h int64   `json:"cache_write_1h,omitempty"`
	Searches     int64   `json:"searches,omitempty"`
	CodeRuns     int64   `json:"code_runs,omitempty"`
	OtherTools   int64   `json:"other_tools,omitempty"`
	Priced       flag    `json:"priced,omitempty"`
	Unpriced     string  `json:"unpriced,omitempty"` // the part without a known price
	Cost         int64   `json:"cost,omitempty"`
	Saved        int64   `json:"saved,omitempty"`
	Wasted       int64   `json:"wasted,omitempty"`
	Warm         int64   `json:"warm,omitempty"`
	Warmest      int64   `json:"warmest,omitempty"`
	Guess        int64   `json:"guess,omitempty"`
	Extra        []extra `json:"extra,omitempty"`
}

// extra is another model call within the response. Its cost is part of the attempt's, its tokens
// are not.
type extra struct {
	Type         string `json:"type"`
	Model        string `json:"model,omitempty"`
	ServiceTier  string `json:"service_tier,omitempty"`
	Speed        string `json:"speed,omitempty"`
	InferenceGeo string `json:"inference_geo,omitempty"`
	Input        int64  `json:"input,omitempty"`
	Output       int64  `json:"output,omitempty"`
	CacheRead    int64  `json:"cache_read,omitempty"`
	CacheWrite5m int64  `json:"cache_write_5m,omitempty"`
	CacheWrite1h int64  `json:"cache_write_1h,omitempty"`
	Searches     int64  `json:"searches,omitempty"`
	Cost         int64  `json:"cost,omitempty"`
}

// flag is a boolean that databases can add up.
type flag int8

// decode decodes the output of appendEntry.
func decode(written, prompt []byte) (*ledger.Entry, error) {
	var r record
	if err := json.Unmarshal(written, &r); err != nil {
		return nil, err
	}
	e := &ledger.Entry{
		ID: r.RequestID, Start: time.UnixMilli(r.Time), Client: r.Client, Session: r.Session, Agent: r.Agent, Method: r.Method, Path: r.Path, Model: r.Model,
		Stream: r.Stream != 0, Sent: r.Sent, Status: r.Status, Outcome: ledger.Outcome(r.Outcome), TimeToFirstByte: time.Duration(r.FirstByte),
		Duration: time.Duration(r.Duration), Waited: time.Duration(r.Waited), Bytes: r.Received, Routed: ledger.Routed(r.Routed), Reason: r.Reason,
	}
	if len(prompt) > 0 {
		e.Prompt = prompt
	}
	for i := range r.Attempts {
		e.Attempts = append(e.Attempts, r.Attempts[i].decode())
	}
	for i := range r.Steps {
		e.Steps = append(e.Steps, r.Steps[i].decode())
	}
	return e, nil
}

func (a *attempt) decode() ledger.Attempt {
	out := ledger.Attempt{
		Server: a.Server, Status: a.Status, Scope: a.Scope, Reason: a.Reason, RequestID: a.RequestID, Start: time.UnixMilli(a.Time),
		TimeToOutcome: time.Duration(a.Verdict), Duration: time.Duration(a.Duration), Served: a.Served != 0,
		Answer: claude.Message{
			Model: a.Model, StopReason: a.StopReason, Started: a.Known != 0, Delta: a.Known != 0 && a.Estimated == 0,
			Usage: claude.Usage{
				ServiceTier: a.ServiceTier, Speed: a.Speed, InferenceGeo: a.InferenceGeo,
				InputTokens: a.Input, OutputTokens: a.Output, CacheReadTokens: a.CacheRead,
				CacheCreation5mTokens: a.CacheWrite5m, CacheCreation1hTokens: a.CacheWrite1h,
				WebSearchRequests: a.Searches, CodeRequests: a.CodeRuns, OtherToolRequests: a.OtherTools,
			},
		},
		ExpectedCached: a.Warm, MaxExpectedCached: a.Warmest, EstimatedInput: a.Guess, Estimated: a.Estimated != 0,
		Cost: ledger.Cost{
			Known: a.Priced != 0, Unpriced: a.Unpriced, Sum: ledger.Money(a.Cost), Saved: ledger.Money(a.Saved), Wasted: ledger.Money(a.Wasted),
		},
	}
	if a.Fallback != 0 {
		out.Answer.Iterations = []claude.Iteration{{Type: claude.IterationFallback}}
	}
	for i := range a.Extra {
		out.Extra = append(out.Extra, a.Extra[i].decode())
	}
	return out
}

func (x *extra) decode() ledger.Extra {
	return ledger.Extra{
		Type: x.Type, Model: x.Model, Sum: ledger.Money(x.Cost),
		Usage: claude.Usage{
			ServiceTier: x.ServiceTier, Speed: x.Speed, InferenceGeo: x.InferenceGeo, InputTokens: x.Input, OutputTokens: x.Output,
			CacheReadTokens: x.CacheRead, CacheCreation5mTokens: x.CacheWrite5m, CacheCreation1hTokens: x.CacheWrite1h, WebSearchRequests: x.Searches,
		},
	}
}

package store

import (
	"bytes"
	"encoding/json"
	"math"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// step is the part of a record about one step. Times are milliseconds since the request began.
type step struct {
	Kind       string      `json:"kind"`
	At         int64       `json:"at,omitempty"`
	Took       int64       `json:"took,omitempty"`
	Server     string      `json:"server,omitempty"`
	State      string      `json:"state,omitempty"`
	Ready      int64       `json:"ready,omitempty"`
	Reason     string      `json:"reason,omitempty"`
	Candidates []candidate `json:"candidates,omitempty"`
}

// candidate is the part of a step about one server.
type candidate struct {
	Server string  `json:"server"`
	Result string  `json:"result"`
	State  string  `json:"state,omitempty"`
	Cached int64   `json:"cached,omitempty"`
	Score  float64 `json:"score,omitempty"`
}

// steps appends the steps of an entry. Few requests have any, so encoding/json writes them.
func (o *object) steps(list []ledger.Step) {
	if len(list) == 0 {
		return
	}
	out := make([]step, len(list))
	for i := range list {
		out[i] = stepOf(&list[i])
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return // impossible: strings and finite numbers can always be encoded
	}
	*o = append(append(*o, `,"steps":`...), bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

func stepOf(s *ledger.Step) step {
	out := step{
		Kind: text(string(s.Kind)), At: s.At.Milliseconds(), Took: s.Took.Milliseconds(), Server: text(s.Server), State: text(s.State),
		Ready: s.Ready.Milliseconds(), Reason: text(s.Reason),
	}
	for _, c := range s.Candidates {
		score := c.Score
		if math.IsNaN(score) || math.IsInf(score, 0) {
			score = 0
		}
		out.Candidates = append(out.Candidates, candidate{text(c.Server), text(c.Result), text(c.State), c.Cached, score})
	}
	return out
}

func (s *step) decode() ledger.Step {
	milliseconds := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	out := ledger.Step{
		Kind: ledger.StepKind(s.Kind), At: milliseconds(s.At), Took: milliseconds(s.Took), Server: s.Server, State: s.State,
		Ready: milliseconds(s.Ready), Reason: s.Reason,
	}
	for _, c := range s.Candidates {
		out.Candidates = append(out.Candidates, ledger.Candidate{Server: c.Server, Result: c.Result, State: c.State, Cached: c.Cached, Score: c.Score})
	}
	return out
}

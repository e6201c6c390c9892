package member

import (
	"math"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
)

const (
	// failoverAge is how long a status shows a fail-over.
	failoverAge = time.Minute
	// maxSessionID bounds the session ids that are looked up.
	maxSessionID = 128
	// maxName bounds the names in a status, so that it stays below 1 KB.
	maxName = 32
)

// Status is the body of GET /lb/me/status, for the status line of Claude Code. It has at most 1 KB.
type Status struct {
	Key      string    `json:"key,omitempty"`
	Server   string    `json:"server,omitempty"` // that gave the session's latest response
	Failover *Failover `json:"failover,omitempty"`
	Session  *Usage    `json:"session,omitempty"`
	Today    *Usage    `json:"today,omitempty"`
	Budget   *Budget   `json:"budget,omitempty"`   // the one with the least left
	Headroom *float64  `json:"headroom,omitempty"` // remaining part of the server's tightest limit, 0 to 1
}

// Failover is a change of the server within the last minute.
type Failover struct {
	From   string  `json:"from"`
	Status int     `json:"status,omitempty"`
	Scope  string  `json:"scope"`
	Age    float64 `json:"age_seconds"`
}

// Usage is what requests have cost.
type Usage struct {
	Requests   int64    `json:"requests"`
	Cost       float64  `json:"cost_usd"`
	Incomplete bool     `json:"incomplete,omitempty"` // a part without a known price is missing
	CacheRatio *float64 `json:"cache_ratio"`          // part of the prompt tokens that was read from caches; null without any
}

// Budget is a budget of the key, with what requests in flight have reserved.
type Budget struct {
	Window string     `json:"window"`
	Spent  float64    `json:"spent_usd"`
	Limit  float64    `json:"limit_usd"`
	Resets *time.Time `json:"resets,omitempty"`
}

func usageOf(s *ledger.Sums) *Usage {
	u := &Usage{Requests: s.Requests, Cost: s.Cost.Dollars(), Incomplete: s.Unpriced > 0}
	if s.Input+s.CacheRead+s.CacheWrite5m+s.CacheWrite1h > 0 {
		ratio := rounded(s.HitRate())
		u.CacheRatio = &ratio
	}
	return u
}

// rounded keeps four decimals.
func rounded(f float64) float64 { return math.Round(f*1e4) / 1e4 }

// status describes one session to its status line.
func (c call) status(w http.ResponseWriter, r *http.Request) *problem {
	id := r.URL.Query().Get("session")
	if len(id) > maxSessionID {
		return invalid("The parameter session must be the id of a session of Claude Code.")
	}
	if c.Key == nil && id == "" {
		return invalid("While auth is off, /lb/me/status needs the parameter session.")
	}
	var out Status
	if id != "" {
		c.describeSession(r, id, &out)
	}
	if c.Key != nil {
		out.Key = short(c.Key.Name())
		out.Budget = tightest(c.Key.View(c.now).Budgets)
		if s, err := c.spent(r.Context()); err == nil {
			out.Today = usageOf(&s.today)
		}
	}
	return writeJSON(w, r, out)
}

func (c *call) describeSession(r *http.Request, id string, out *Status) {
	s := c.session(r.Context(), id)
	if s.sums.Requests == 0 {
		return
	}
	out.Session, out.Server = usageOf(&s.sums), short(c.label(s.server))
	if age := c.now.Sub(s.failover.at); age < failoverAge {
		out.Failover = &Failover{From: short(c.label(s.failover.from)), Status: s.failover.status, Scope: s.failover.reason, Age: math.Round(age.Seconds())}
	}
	if c.Headroom != nil && s.server != "" {
		if part, known := c.Headroom(s.server, c.now); known {
			part = rounded(part)
			out.Headroom = &part
		}
	}
}

// tightest returns the budget of which the largest part is spent, nil without budgets.
func tightest(list []quota.BudgetView) *Budget {
	var out *Budget
	for _, b := range list {
		if out == nil || b.Spent/b.Limit > out.Spent/out.Limit {
			out = &Budget{b.Window, b.Spent, b.Limit, b.Resets}
		}
	}
	return out
}

// short bounds a name.
func short(name string) string {
	if r := []rune(name); len(r) > maxName {
		return string(r[:maxName-1]) + "…"
	}
	return name
}

package admin

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// Status is the state of the whole balancer.
type Status struct {
	Version      string    `json:"version"`
	Generation   uint64    `json:"generation"` // of the configuration
	Started      time.Time `json:"started"`
	Uptime       float64   `json:"uptime_seconds"`
	OpenRequests int64     `json:"open_requests"`
	Ledger       *Backlog  `json:"ledger,omitempty"` // nil without one
	Reload       *Reload   `json:"reload,omitempty"` // nil before the first
	recentStats            // of all servers together
}

// Reload is the result of the latest reload.
type Reload struct {
	Time     time.Time `json:"time"`
	OK       bool      `json:"ok"`
	Error    string    `json:"error,omitempty"`    // why the old configuration stays in force
	Problems []string  `json:"problems,omitempty"` // of the file, with line and column
}

// recentStats summarizes recent attempts.
type recentStats struct {
	LastError *failedAttempt `json:"last_error,omitempty"`
	LastGood  *time.Time     `json:"last_good,omitempty"`
	Recent    errorRate      `json:"recent"`
}

// failedAttempt is a failed attempt.
type failedAttempt struct {
	Time   time.Time `json:"time"`
	Server string    `json:"server,omitempty"`
	Scope  string    `json:"scope"`
	Reason string    `json:"reason,omitempty"`
	Model  string    `json:"model,omitempty"`
}

// errorRate is the part of attempts that failed in the last minutes.
type errorRate struct {
	Seconds  float64 `json:"seconds"`
	Attempts int     `json:"attempts"`
	Errors   int     `json:"errors"`
	Rate     float64 `json:"error_rate"`
}

func newRecentStats() recentStats {
	return recentStats{Recent: errorRate{Seconds: upstream.RecentSpan.Seconds()}}
}

// add adds the attempts of a server.
func (p *recentStats) add(name string, r *upstream.Report) {
	if e := r.LastError; !e.At.IsZero() && (p.LastError == nil || e.At.After(p.LastError.Time)) {
		p.LastError = &failedAttempt{e.At.UTC(), name, e.Scope.String(), e.Reason, e.Model}
	}
	if success := r.LastSuccess.UTC(); !success.IsZero() && (p.LastGood == nil || success.After(*p.LastGood)) {
		p.LastGood = &success
	}
	p.Recent.Attempts += r.Attempts
	p.Recent.Errors += r.Errors
	if p.Recent.Attempts > 0 {
		p.Recent.Rate = float64(p.Recent.Errors) / float64(p.Recent.Attempts)
	}
}

// Backlog is the number and age of rows that the ledger has not written yet.
type Backlog struct {
	Rows       int     `json:"backlog_rows"`
	Oldest     float64 `json:"backlog_age_seconds"`
	Late       int64   `json:"late_rows"`
	Aggregated int64   `json:"folded_rows"`
	// Reason is why rows cannot be written now, "" if they can; Since is when that began.
	Reason string     `json:"reason,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
}

// Request is a request in flight.
type Request struct {
	ID       string    `json:"id"`
	Client   string    `json:"client"`
	Session  string    `json:"session,omitempty"`
	Agent    string    `json:"agent,omitempty"`
	Model    string    `json:"model,omitempty"`
	Path     string    `json:"path"`
	Server   string    `json:"server,omitempty"` // of the current attempt
	Start    time.Time `json:"start"`
	Age      float64   `json:"age_seconds"`
	Sent     int64     `json:"request_bytes"`
	Received int64     `json:"answer_bytes"`
}

// Decision is a finished request with its attempts.
type Decision struct {
	Entry ledger.Entry
	Trail []string
}

// decision is the JSON form of Decision.
type decision struct {
	ID        string    `json:"id"`
	Client    string    `json:"client"`
	Session   string    `json:"session,omitempty"`
	Agent     string    `json:"agent,omitempty"`
	Model     string    `json:"model,omitempty"`
	Path      string    `json:"path"`
	Start     time.Time `json:"start"`
	Server    string    `json:"server,omitempty"`
	Attempts  int       `json:"attempts"`
	Routed    string    `json:"routed,omitempty"`
	Outcome   string    `json:"outcome"`
	Status    int       `json:"status"`
	Reason    string    `json:"reason,omitempty"`
	FirstByte float64   `json:"first_byte_seconds"`
	Duration  float64   `json:"duration_seconds"`
	Waited    float64   `json:"waited_seconds"`
	Cost      string    `json:"cost_usd,omitempty"` // "" if unknown
	Unpriced  string    `json:"unpriced,omitempty"` // the part without a known price
	Estimated bool      `json:"estimated,omitempty"`
	Trail     []string  `json:"trail"`
}

// server is the JSON form of an upstream.
type server struct {
	Name           string     `json:"name"`
	State          string     `json:"state"`
	Reason         string     `json:"reason,omitempty"`
	ReadyAt        *time.Time `json:"ready_at,omitempty"`
	Drained        bool       `json:"drained"`
	Ejected        bool       `json:"ejected"`
	Weight         int        `json:"weight"`
	Share          float64    `json:"share"`
	Price          float64    `json:"price_multiplier"`
	Account        string     `json:"account"`
	InFlight       int64      `json:"in_flight"`
	Load           float64    `json:"load_tokens"`
	Latency        float64    `json:"latency_seconds"`         // the former name of Present
	UsualLatency   float64    `json:"usual_latency_seconds"`   // of the last hours
	PresentLatency float64    `json:"present_latency_seconds"` // of the last minutes
	Headroom       float64    `json:"headroom"`
	Limits         []limit    `json:"limits"`
	Balance        *float64   `json:"balance,omitempty"`
	recentStats
}

// limit is the remaining part of one limit.
type limit struct {
	Class  string  `json:"class"`
	Bucket string  `json:"bucket"`
	Left   float64 `json:"left"`
}

func (h *Handler) status(w http.ResponseWriter, _ *http.Request) {
	s, now := h.Status(), time.Now()
	s.recentStats = newRecentStats()
	for _, e := range h.Table().Endpoints() {
		r := e.Report(now)
		s.add(e.Name(), &r)
	}
	writeJSON(w, http.StatusOK, s)
}

func (h *Handler) servers(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	list := []server{}
	for _, e := range h.Table().Endpoints() {
		list = append(list, serverOf(e, now))
	}
	writeJSON(w, http.StatusOK, map[string]any{"servers": list})
}

func serverOf(e *upstream.Endpoint, now time.Time) server {
	r := e.Report(now)
	s := server{
		Name: e.Name(), State: r.Unfit.String(), Reason: r.Reason, Drained: r.Drained, Ejected: r.Ejected, Weight: e.Weight(), Share: r.Share,
		Price: e.Price(), Account: strconv.FormatUint(r.Account, 16), InFlight: r.InFlight, Load: r.Load, Latency: seconds(r.Latency), Headroom: r.Headroom, Limits: []limit{},
		UsualLatency: seconds(r.LongTerm), PresentLatency: seconds(r.Latency), recentStats: newRecentStats(),
	}
	if r.ReadyAt.After(now) && r.Unfit < upstream.LowBalance {
		at := r.ReadyAt.UTC()
		s.ReadyAt = &at
	}
	if r.BalanceKnown {
		s.Balance = &r.Balance
	}
	for _, each := range r.Remaining {
		s.Limits = append(s.Limits, limit{each.Class, each.Bucket, each.Fraction})
	}
	s.add("", &r)
	slices.SortFunc(s.Limits, func(a, b limit) int { return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Bucket, b.Bucket)) })
	return s
}

func (h *Handler) keys(w http.ResponseWriter, _ *http.Request) {
	var keys any
	if h.Keys != nil {
		keys = h.Keys()
	}
	if keys == nil {
		keys = []string{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": keys})
}

func (h *Handler) requests(w http.ResponseWriter, _ *http.Request) {
	list := h.Requests()
	for i := range list {
		list[i].Path = claude.ShortenIDs(list[i].Path)
	}
	writeJSON(w, http.StatusOK, map[string]any{"requests": append([]Request{}, list...)})
}

func decisionOf(d Decision) decision {
	e := &d.Entry
	out := decision{
		ID: e.ID, Client: e.Client, Session: e.Session, Agent: e.Agent, Model: e.Model, Path: claude.ShortenIDs(e.Path), Start: e.Start.UTC(), Server: e.Server(),
		Attempts: len(e.Attempts), Routed: string(e.Routed), Outcome: string(e.Outcome), Status: e.Status, Reason: e.Reason,
		FirstByte: seconds(e.TimeToFirstByte), Duration: seconds(e.Duration), Waited: seconds(e.Waited), Trail: append([]string{}, d.Trail...),
	}
	cost := e.Cost()
	if out.Unpriced, out.Estimated = cost.Unpriced, e.Estimated(); cost.Known {
		out.Cost = cost.Sum.String()
	}
	return out
}

// Package proxy carries one request from its body to its last byte: it asks
// routing for an endpoint, sends the attempt, holds the answer until it is worth
// committing to, moves on to the next endpoint when it is not, and relays it
// when it is.
//
// Invariants. The request body is read once and never changed. Nothing reaches
// the client before the commit, so until then every failure can be hidden; after
// the commit nothing is ever sent twice, and an answer that breaks off is passed
// on as broken. Every lease is released exactly once.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/ledger"
	"claude-code-lb/internal/routing"
	"claude-code-lb/internal/telemetry"
	"claude-code-lb/internal/upstream"
)

// Recorder is told of every finished request. Record must not block.
type Recorder interface {
	Record(ledger.Entry)
}

// Settings are what a generation of the configuration says about forwarding.
type Settings struct {
	FirstContent time.Duration // a streaming attempt's time to its first content
	NonStreaming time.Duration // any other attempt's time to its answer's head
	Idle         time.Duration // longest silence between two reads of an answer
	// PassCredentials lets a client's own credential go to servers that have none.
	PassCredentials bool
	Dump            *telemetry.Dump // nil unless debug is on
}

// Request is one client request, authenticated and read.
type Request struct {
	ID       string // the balancer's name for it
	Client   string // who asks, for the log
	HTTP     *http.Request
	Body     Body
	Start    time.Time
	Table    *routing.Table
	Settings *Settings
}

// Proxy serves requests. Safe for concurrent use.
type Proxy struct {
	log       *slog.Logger
	recorders []Recorder
	buffers   sync.Pool
}

// New makes a Proxy that tells every recorder of every finished request.
func New(log *slog.Logger, recorders ...Recorder) *Proxy {
	p := &Proxy{log: log, recorders: recorders}
	p.buffers.New = func() any { return new([relayBuffer]byte) }
	return p
}

// Serve answers one request. It panics with http.ErrAbortHandler where an
// answer breaks off, which is net/http's way to cut the client's connection.
func (p *Proxy) Serve(w http.ResponseWriter, req Request) {
	x := newExchange(p, w, req)
	defer x.finish()
	x.run()
}

// exchange is one request on its way.
type exchange struct {
	p     *Proxy
	w     http.ResponseWriter
	req   Request
	ctx   context.Context // ends when the client leaves or the balancer stops
	kind  kind
	query routing.Query
	tried routing.Tried
	entry ledger.Entry
	// refusal is the latest failed attempt that brought an answer: what the client gets when no attempt succeeds.
	refusal *answer
	cause   error // why the committed answer broke off
}

func newExchange(p *Proxy, w http.ResponseWriter, req Request) *exchange {
	r := req.HTTP
	// What cannot be scanned is forwarded all the same: the upstream says best what is wrong with it.
	scan, _ := claude.ScanRequest(req.Body.b)
	return &exchange{
		p: p, w: w, req: req, ctx: r.Context(), kind: kindOf(r.Method, r.URL.Path, scan.Stream),
		entry: ledger.Entry{
			ID: req.ID, Start: req.Start, Client: req.Client, Session: claude.SessionID(r.Header, scan.UserID),
			Method: r.Method, Path: r.URL.Path, Model: scan.Model, Stream: scan.Stream,
		},
	}
}

// run tries endpoint after endpoint until one answer is committed, the client leaves, or none is left.
func (x *exchange) run() {
	for {
		lease, err := x.req.Table.Next(x.query, &x.tried, time.Now())
		if err != nil {
			x.giveUp(err)
			return
		}
		x.tried.Add(lease.ID())
		a := x.attempt(lease)
		switch {
		case a.outcome.Scope == upstream.ScopeClient:
			x.settle(a)
			a.close()
			x.interrupted()
			return
		case a.outcome.Failover():
			x.settle(a)
			a.close()
			x.remember(a)
		default:
			x.commit(a)
			return
		}
	}
}

// interrupted ends a request that was cancelled before its commit. Only when it was the balancer that
// stopped is somebody there to be told.
func (x *exchange) interrupted() {
	x.entry.Outcome = ledger.ClientGone
	if !errors.Is(context.Cause(x.ctx), upstream.ErrStopping) {
		return
	}
	x.entry.Outcome = ledger.Failed
	e := claude.Error{Type: claude.ErrAPI, Message: "claude-code-lb is stopping: try again in a moment.", RequestID: x.req.ID}
	x.entry.Status = WriteError(x.w, http.StatusServiceUnavailable, time.Second, e)
}

// settle teaches the endpoint the verdict and notes the attempt.
func (x *exchange) settle(a *answer) {
	now := time.Now()
	a.lease.Settle(x.ctx, a.outcome, now)
	status, upstreamID := 0, ""
	if a.res != nil {
		status, upstreamID = a.res.StatusCode, a.res.Header.Get("Request-Id")
	}
	x.entry.Attempts = append(x.entry.Attempts, ledger.Attempt{
		Server: a.lease.Name(), Status: status, Reason: a.outcome.Reason, RequestID: upstreamID,
		Start: a.start, Duration: now.Sub(a.start),
	})
	if a.outcome.Failover() {
		x.p.log.InfoContext(x.ctx, telemetry.AttemptFailed, telemetry.ID, x.req.ID, telemetry.Server, a.lease.Name(),
			telemetry.Reason, a.outcome.Reason, telemetry.Scope, a.outcome.Scope.String(), telemetry.Duration, now.Sub(a.start).Round(time.Millisecond))
	}
}

// remember keeps a failed attempt's answer as the one to give when all fail.
func (x *exchange) remember(a *answer) {
	if a.res != nil && (a.res.StatusCode >= 400 || a.message.Err != nil) {
		x.refusal = a
	}
}

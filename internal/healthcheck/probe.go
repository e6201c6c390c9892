package healthcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/transport"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	minProbeTime   = time.Second
	maxProbeTime   = 10 * time.Second
	maxProbeBody   = 64 << 10
	probeTolerance = time.Second  // how late a check may end
	apiVersion     = "2023-06-01" // the only version of the Messages API
)

// probeTarget is the state that health checks change.
//
// A health check proves less than real traffic, so it never decides alone. When it passes, the
// target admits one request, and the result of that request decides whether the endpoint is back.
// When it fails, the failure counts only if no real request has succeeded at the endpoint since the
// check began.
type probeTarget interface {
	// ProbePassed allows the next request to try an endpoint whose breaker is open: the breaker
	// becomes half-open at once. It reports whether that changed anything.
	ProbePassed(now time.Time) bool
	// ProbeFailed opens a closed breaker, unless real traffic has succeeded at the endpoint since
	// the given time. It reports whether that changed anything.
	ProbeFailed(since, now time.Time, reason string) bool
}

// ProbePlan is the configuration of a server's health check. Equal plans (==) send the same checks.
// The zero value sends none.
type ProbePlan struct {
	server   string
	url      string
	model    string // "": GET of a path instead of a message
	auth     config.AuthHeader
	token    config.Secret
	interval time.Duration
	jitter   int    // percent
	Mark     string // see transport.Loop
}

// NewProbePlan derives the plan from a server's health_check.
func NewProbePlan(spec config.Server) ProbePlan {
	check := spec.HealthCheck
	if !check.Enabled() {
		return ProbePlan{}
	}
	target := &url.URL{Path: claude.MessagesPath}
	if check.Model == "" {
		target = pathAndQuery(check.Path)
	}
	return ProbePlan{
		server: spec.Name, url: transport.Join(spec.URL, target).String(), model: check.Model,
		auth: spec.AuthHeader, token: spec.Token, interval: check.Interval, jitter: check.Jitter,
	}
}

// pathAndQuery parses a path of the configuration. A path that cannot be parsed is taken literally;
// package config refuses such a path.
func pathAndQuery(path string) *url.URL {
	if u, err := url.ParseRequestURI(path); err == nil {
		return u
	}
	return &url.URL{Path: path}
}

// pause returns the time until the next check. random is in [0, 1).
func (p ProbePlan) pause(random float64) time.Duration {
	return p.interval - time.Duration(random*float64(p.jitter)/100*float64(p.interval))
}

// limit returns the longest duration of one check.
func (p ProbePlan) limit() time.Duration { return max(min(p.interval, maxProbeTime), minProbeTime) }

// Prober checks the health of one endpoint, one check at a time.
type Prober struct {
	Plan      ProbePlan
	transport http.RoundTripper
	target    probeTarget
	log       *event.Bus
	cancel    context.CancelFunc
}

// StartProber starts the checks; a zero plan sends none. They end with ctx or with Stop; wg counts
// the goroutine until then. The first check comes after a pause: a balancer that starts together
// with its network must not find every server unreachable.
func StartProber(ctx context.Context, wg *sync.WaitGroup, log *event.Bus, plan ProbePlan, transport http.RoundTripper, target probeTarget) *Prober {
	ctx, cancel := context.WithCancel(ctx)
	p := &Prober{Plan: plan, transport: transport, target: target, log: log, cancel: cancel}
	if plan == (ProbePlan{}) {
		cancel()
		return p
	}
	wg.Go(func() { p.run(ctx) })
	return p
}

// Stop ends the checks. A check in progress is aborted without a result.
func (p *Prober) Stop() { p.cancel() }

func (p *Prober) run(ctx context.Context) {
	timer := time.NewTimer(p.Plan.pause(rand.Float64()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			p.check(ctx)
			timer.Reset(p.Plan.pause(rand.Float64()))
		}
	}
}

// check sends one health check and reports the result to the target. A response that concerns the
// request, the credential or the account proves that the endpoint works. An overloaded response
// proves nothing about the endpoint.
func (p *Prober) check(ctx context.Context) {
	began := time.Now()
	o := p.probe(ctx)
	// If the check ended late, the process was suspended, and the result proves nothing about the
	// server.
	if ctx.Err() != nil || time.Since(began) > p.Plan.limit()+probeTolerance {
		return
	}
	changed := false
	switch o.Scope {
	case verdict.ScopeClient, verdict.ScopeBalancer, verdict.ScopeCapacity:
	case verdict.ScopeEndpoint:
		if changed = p.target.ProbeFailed(began, time.Now(), "health check: "+o.Reason); changed {
			p.log.Publish(ctx, event.HealthCheckFailed{Server: p.Plan.server, Reason: o.Reason})
		}
	default:
		if changed = p.target.ProbePassed(time.Now()); changed {
			p.log.Info(telemetry.ProbePassed, telemetry.Server, p.Plan.server)
		}
	}
	if !changed {
		p.log.Debug(telemetry.ProbeDone, telemetry.Server, p.Plan.server, telemetry.Scope, o.Scope.String(), telemetry.Reason, o.Reason)
	}
}

// probe sends one request and judges the response.
func (p *Prober) probe(ctx context.Context) verdict.Outcome {
	limit := p.Plan.limit()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &verdict.TimeoutError{Waiting: "response", After: limit})
	defer cancel()
	ev := verdict.Evidence{Server: p.Plan.server, Model: p.Plan.model}
	ev.Err = p.roundTrip(ctx, &ev)
	if cause := context.Cause(ctx); ev.Err != nil && cause != nil {
		ev.Err = cause
	}
	ev.Now = time.Now()
	if p.Plan.model == "" && ev.Err == nil && (ev.Status < http.StatusInternalServerError || ev.Status == http.StatusNotImplemented) {
		return verdict.Outcome{}
	}
	return verdict.Judge(ev)
}

// roundTrip sends the request and collects the evidence. It calls the transport directly, so
// redirects are not followed.
func (p *Prober) roundTrip(ctx context.Context, ev *verdict.Evidence) error {
	r, err := p.request(ctx)
	if err != nil {
		return err
	}
	res, err := p.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	ev.Status, ev.Header = res.StatusCode, res.Header
	// The body is read even if it is not needed, so that the connection can be reused.
	body, err := io.ReadAll(io.LimitReader(res.Body, maxProbeBody))
	if p.Plan.model == "" {
		return nil
	}
	ev.Body = body
	if claimed, ok := claude.ParseError(body); ok {
		ev.Error = &claimed
	}
	if res.StatusCode >= http.StatusBadRequest || ev.Error != nil {
		return nil // the status decides, even if the body is incomplete
	}
	if err != nil {
		return err
	}
	return p.checkMessage(res, body)
}

// checkMessage returns an error if a successful response is not a message, but for example a login
// page or a redirect. Relays send those too.
func (p *Prober) checkMessage(res *http.Response, body []byte) error {
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", verdict.ErrUnusable, res.StatusCode)
	}
	// We did not ask for compression. Real requests show whether the endpoint is usable.
	if res.Header.Get("Content-Encoding") != "" {
		return nil
	}
	if _, ok := claude.ParseMessage(body); !ok {
		return fmt.Errorf("%w: not a message", verdict.ErrUnusable)
	}
	return nil
}

func (p *Prober) request(ctx context.Context) (r *http.Request, err error) {
	if p.Plan.model == "" {
		r, err = http.NewRequestWithContext(ctx, http.MethodGet, p.Plan.url, nil)
	} else {
		r, err = newPing(ctx, p.Plan.url, p.Plan.model)
	}
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "claude-code-lb")
	if p.Plan.Mark != "" {
		r.Header.Set(transport.LoopHeader, p.Plan.Mark)
	}
	if !p.Plan.token.Empty() {
		transport.NewCredential(p.Plan.auth, p.Plan.token.Reveal()).Put(r.Header)
	}
	return r, nil
}

// newPing returns the smallest request that makes a model respond.
func newPing(ctx context.Context, address, model string) (*http.Request, error) {
	body, err := json.Marshal(map[string]any{
		"model": model, "max_tokens": 1, "messages": []map[string]string{{"role": "user", "content": "ping"}},
	})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("Anthropic-Version", apiVersion)
	// An empty list allows net/http to repeat the request if a kept connection turns out to be
	// closed. It is not sent.
	r.Header["Idempotency-Key"] = nil
	return r, nil
}

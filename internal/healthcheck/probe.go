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
	minProbeTime = time.Second
	maxProbeTime = 10 * time.Second
	maxProbeBody = 64 << 10
	messagesPath = "/v1/messages"
	lateProbe    = time.Second  // by which a check may end late
	apiVersion   = "2023-06-01" // the only one that the Messages API has
)

// probed is the state that health checks speak to.
//
// A check knows less than real traffic, so it never has the last word. When it
// passes, it lets one request try: whether the endpoint is back, that request
// decides. When it fails, it counts only if nothing has succeeded there since
// the check began; a success that came meanwhile is the better witness.
type probed interface {
	// ProbePassed lets a resting endpoint be tried by the next request: open
	// becomes half-open at once. It reports whether that changed anything.
	ProbePassed(now time.Time) bool
	// ProbeFailed rests an endpoint that was thought well, unless real traffic
	// has succeeded there since the given moment. It reports whether that changed anything.
	ProbeFailed(since, now time.Time, reason string) bool
}

// probePlan is what the operator asked for. Plans are == when they ask for the same. The zero value asks for nothing.
type Probe struct {
	server   string
	url      string
	model    string // "" asks by GET
	auth     config.AuthHeader
	token    config.Secret
	interval time.Duration
	jitter   int    // percent
	Mark     string // see Loop
}

// planProbe makes the plan for a server's health_check.
func PlanProbe(spec config.Server) Probe {
	check := spec.HealthCheck
	if !check.Enabled() {
		return Probe{}
	}
	target := &url.URL{Path: messagesPath}
	if check.Model == "" {
		target = pathAndQuery(check.Path)
	}
	return Probe{
		server: spec.Name, url: transport.Join(spec.URL, target).String(), model: check.Model,
		auth: spec.AuthHeader, token: spec.Token, interval: check.Interval, jitter: check.Jitter,
	}
}

// pathAndQuery reads a path as the operator wrote it. One that cannot be read, which config refuses, is taken literally.
func pathAndQuery(path string) *url.URL {
	if u, err := url.ParseRequestURI(path); err == nil {
		return u
	}
	return &url.URL{Path: path}
}

// pause is how long to wait for the next check. random is a number in [0, 1).
func (p Probe) pause(random float64) time.Duration {
	return p.interval - time.Duration(random*float64(p.jitter)/100*float64(p.interval))
}

// limit is how long one check may take.
func (p Probe) limit() time.Duration { return max(min(p.interval, maxProbeTime), minProbeTime) }

// prober checks one endpoint's health, one check after the other.
type Prober struct {
	Plan      Probe
	transport http.RoundTripper
	target    probed
	log       *event.Bus
	cancel    context.CancelFunc
}

// startProber begins checking; a zero plan checks nothing. It ends with ctx or
// by stop, and wg counts it until then. The first check comes after a pause: a
// balancer that starts together with its network shall not take every server for dead.
func StartProber(ctx context.Context, wg *sync.WaitGroup, log *event.Bus, plan Probe, transport http.RoundTripper, target probed) *Prober {
	ctx, cancel := context.WithCancel(ctx)
	p := &Prober{Plan: plan, transport: transport, target: target, log: log, cancel: cancel}
	if plan == (Probe{}) {
		cancel()
		return p
	}
	wg.Go(func() { p.run(ctx) })
	return p
}

// stop ends the checks. One that is under way is broken off and says nothing.
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

// check asks once and tells the target. Any answer that concerns the request,
// the credential or the account came from an endpoint that is well; an
// overloaded service says nothing about it.
func (p *Prober) check(ctx context.Context) {
	began := time.Now()
	o := p.ask(ctx)
	if ctx.Err() != nil || time.Since(began) > p.Plan.limit()+lateProbe {
		return // in the latter case the process was suspended, and the result says nothing about the server
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

// ask sends one request and judges the answer.
func (p *Prober) ask(ctx context.Context) verdict.Outcome {
	limit := p.Plan.limit()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &verdict.TimeoutError{Waiting: "answer", After: limit})
	defer cancel()
	ev := verdict.Evidence{Server: p.Plan.server, Model: p.Plan.model}
	ev.Err = p.exchange(ctx, &ev)
	if cause := context.Cause(ctx); ev.Err != nil && cause != nil {
		ev.Err = cause
	}
	ev.Now = time.Now()
	if p.Plan.model == "" && ev.Err == nil && (ev.Status < http.StatusInternalServerError || ev.Status == http.StatusNotImplemented) {
		return verdict.Outcome{}
	}
	return verdict.Judge(ev)
}

// exchange gathers the evidence. It calls the transport itself and so follows no redirects.
func (p *Prober) exchange(ctx context.Context, ev *verdict.Evidence) error {
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
	// Read also where it is of no interest, so that the connection can be used again.
	body, err := io.ReadAll(io.LimitReader(res.Body, maxProbeBody))
	if p.Plan.model == "" {
		return nil
	}
	ev.Body = body
	if claimed, ok := claude.ParseError(body); ok {
		ev.Error = &claimed
	}
	if res.StatusCode >= http.StatusBadRequest || ev.Error != nil {
		return nil // the status is what counts, however the body ends
	}
	if err != nil {
		return err
	}
	return p.isMessage(res, body)
}

// isMessage tells a message from a login page, a redirect and other things that relays send with good conscience.
func (p *Prober) isMessage(res *http.Response, body []byte) error {
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", verdict.ErrUnusable, res.StatusCode)
	}
	if res.Header.Get("Content-Encoding") != "" { // not asked for; whether requests survive it, they tell
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
		transport.CredentialOf(p.Plan.auth, p.Plan.token.Reveal()).Put(r.Header)
	}
	return r, nil
}

// newPing makes the smallest request that a model answers.
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
	// Lets net/http send it again when an idle connection turns out to be closed; nothing is put on the wire.
	r.Header["Idempotency-Key"] = nil
	return r, nil
}

package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
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
	// probePassed lets a resting endpoint be tried by the next request: open
	// becomes half-open at once. It reports whether that changed anything.
	probePassed(now time.Time) bool
	// probeFailed rests an endpoint that was thought well, unless real traffic
	// has succeeded there since the given moment. It reports whether that changed anything.
	probeFailed(since, now time.Time, reason string) bool
}

// probePlan is what the operator asked for. Plans are == when they ask for the same. The zero value asks for nothing.
type probePlan struct {
	server   string
	url      string
	model    string // "" asks by GET
	auth     config.AuthHeader
	token    config.Secret
	interval time.Duration
	jitter   int    // percent
	mark     string // see Loop
}

// planProbe makes the plan for a server's health_check.
func planProbe(spec config.Server) probePlan {
	check := spec.HealthCheck
	if !check.Enabled() {
		return probePlan{}
	}
	target := &url.URL{Path: messagesPath}
	if check.Model == "" {
		target = pathAndQuery(check.Path)
	}
	return probePlan{
		server: spec.Name, url: join(spec.URL, target).String(), model: check.Model,
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
func (p probePlan) pause(random float64) time.Duration {
	return p.interval - time.Duration(random*float64(p.jitter)/100*float64(p.interval))
}

// limit is how long one check may take.
func (p probePlan) limit() time.Duration { return max(min(p.interval, maxProbeTime), minProbeTime) }

// prober checks one endpoint's health, one check after the other.
type prober struct {
	plan      probePlan
	transport http.RoundTripper
	target    probed
	log       *slog.Logger
	cancel    context.CancelFunc
}

// startProber begins checking; a zero plan checks nothing. It ends with ctx or
// by stop, and wg counts it until then. The first check comes after a pause: a
// balancer that starts together with its network shall not take every server for dead.
func startProber(ctx context.Context, wg *sync.WaitGroup, log *slog.Logger, plan probePlan, transport http.RoundTripper, target probed) *prober {
	ctx, cancel := context.WithCancel(ctx)
	p := &prober{plan: plan, transport: transport, target: target, log: log, cancel: cancel}
	if plan == (probePlan{}) {
		cancel()
		return p
	}
	wg.Go(func() { p.run(ctx) })
	return p
}

// stop ends the checks. One that is under way is broken off and says nothing.
func (p *prober) stop() { p.cancel() }

func (p *prober) run(ctx context.Context) {
	timer := time.NewTimer(p.plan.pause(rand.Float64()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			p.check(ctx)
			timer.Reset(p.plan.pause(rand.Float64()))
		}
	}
}

// check asks once and tells the target. Any answer that concerns the request,
// the credential or the account came from an endpoint that is well; an
// overloaded service says nothing about it.
func (p *prober) check(ctx context.Context) {
	began := time.Now()
	o := p.ask(ctx)
	if ctx.Err() != nil || time.Since(began) > p.plan.limit()+lateProbe {
		return // in the latter case the process was suspended, and the result says nothing about the server
	}
	changed := false
	switch o.Scope {
	case ScopeClient, ScopeBalancer, ScopeCapacity:
	case ScopeEndpoint:
		if changed = p.target.probeFailed(began, time.Now(), "health check: "+o.Reason); changed {
			p.log.Warn(telemetry.ProbeFailed, telemetry.Server, p.plan.server, telemetry.Reason, o.Reason)
		}
	default:
		if changed = p.target.probePassed(time.Now()); changed {
			p.log.Info(telemetry.ProbePassed, telemetry.Server, p.plan.server)
		}
	}
	if !changed {
		p.log.Debug(telemetry.ProbeMade, telemetry.Server, p.plan.server, telemetry.Scope, o.Scope.String(), telemetry.Reason, o.Reason)
	}
}

// ask sends one request and judges the answer.
func (p *prober) ask(ctx context.Context) Outcome {
	limit := p.plan.limit()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &TimeoutError{Waiting: "answer", After: limit})
	defer cancel()
	ev := Evidence{Server: p.plan.server, Model: p.plan.model}
	ev.Err = p.exchange(ctx, &ev)
	if cause := context.Cause(ctx); ev.Err != nil && cause != nil {
		ev.Err = cause
	}
	ev.Now = time.Now()
	if p.plan.model == "" && ev.Err == nil && (ev.Status < http.StatusInternalServerError || ev.Status == http.StatusNotImplemented) {
		return Outcome{}
	}
	return Judge(ev)
}

// exchange gathers the evidence. It calls the transport itself and so follows no redirects.
func (p *prober) exchange(ctx context.Context, ev *Evidence) error {
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
	if p.plan.model == "" {
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
func (p *prober) isMessage(res *http.Response, body []byte) error {
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", ErrUnusable, res.StatusCode)
	}
	if res.Header.Get("Content-Encoding") != "" { // not asked for; whether requests survive it, they tell
		return nil
	}
	if _, ok := claude.ParseMessage(body); !ok {
		return fmt.Errorf("%w: not a message", ErrUnusable)
	}
	return nil
}

func (p *prober) request(ctx context.Context) (r *http.Request, err error) {
	if p.plan.model == "" {
		r, err = http.NewRequestWithContext(ctx, http.MethodGet, p.plan.url, nil)
	} else {
		r, err = newPing(ctx, p.plan.url, p.plan.model)
	}
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "claude-code-lb")
	if p.plan.mark != "" {
		r.Header.Set(LoopHeader, p.plan.mark)
	}
	if !p.plan.token.Empty() {
		credentialOf(p.plan.auth, p.plan.token.Reveal()).put(r.Header)
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

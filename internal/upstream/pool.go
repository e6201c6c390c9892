package upstream

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/healthcheck"
	"github.com/9bingyin/claude-code-lb/internal/transport"
)

// Pool keeps what was learned of endpoints from one generation of the
// configuration to the next. Reconcile and Warm calls must not overlap; everything else
// is safe for concurrent use.
type Pool struct {
	ctx   context.Context
	log   *event.Bus
	known map[ID]*poolEntry
	wg    sync.WaitGroup

	// OnBalance is told of every reading of a balance. It is set before the first Reconcile, and must not block.
	OnBalance func(server string, value float64, at time.Time)

	// Loop marks the requests to the pool's servers.
	Loop *transport.Loop

	cold     []coldServer // of the last Reconcile
	accounts *accounts
	origins  map[string]*origin // by scheme and host
	notifier *notifier
}

// poolEntry is what the pool keeps of one identity.
type poolEntry struct {
	state     *endpointState
	transport transport.Transport
	connect   time.Duration     // the transport was made with
	engine    config.HTTPEngine // the transport was made with
	checker   *healthcheck.BalanceChecker
	prober    *healthcheck.Prober
	policy    breakerPolicy // the prober was made with
}

// NewPool makes an empty pool. Balance checks end with ctx.
func NewPool(ctx context.Context, log *event.Bus) *Pool {
	return &Pool{
		ctx: ctx, log: log, Loop: transport.NewLoop(), known: map[ID]*poolEntry{},
		accounts: &accounts{known: map[place]*account{}, cache: map[place]*cache{}}, origins: map[string]*origin{}, notifier: &notifier{},
	}
}

// Wait returns when every balance check has ended, after the pool's context has.
func (p *Pool) Wait() { p.wg.Wait() }

// Reconcile makes the endpoints of a new generation. Identities that are known
// keep what was learned of them, whatever else about them changed. The caller
// puts the endpoints to work and then calls commit, which retires what the new
// generation no longer has; requests in flight there finish undisturbed.
func (p *Pool) Reconcile(cfg *config.Config) (endpoints []*Endpoint, commit func()) {
	kept := map[ID]*poolEntry{}
	p.cold = nil
	for _, spec := range cfg.Servers {
		id := identify(spec)
		r := kept[id]
		if r == nil {
			r = p.renew(id, p.known[id], spec, cfg)
			kept[id] = r
		}
		mark := p.markOf(id, spec)
		endpoints = append(endpoints, &Endpoint{
			spec: spec, mark: mark, marks: []string{mark}, policy: breakerPolicyOf(cfg), slowStart: cfg.SlowStart, id: id, state: r.state, transport: r.transport,
			auth: transport.NewCredential(spec.AuthHeader, spec.Token.Reveal()), accounts: p.accounts, origin: p.originOf(spec), notifier: p.notifier, log: p.log,
		})
	}
	old := p.known
	p.known = kept
	return endpoints, func() {
		retire(old, kept)
		p.forget(endpoints)
	}
}

// markOf is the mark of requests to a server, "" where they get none.
func (p *Pool) markOf(id ID, spec config.Server) string {
	if isAnthropic(spec.URL.Hostname()) {
		return ""
	}
	return p.Loop.MarkOf(id[:])
}

func breakerPolicyOf(cfg *config.Config) breakerPolicy {
	return breakerPolicy{
		cooldown: cfg.Cooldown, consecutive: cfg.Breaker.Consecutive,
		percent: cfg.Breaker.Percent, minimum: cfg.Breaker.Minimum, window: cfg.Breaker.Window,
	}
}

func (p *Pool) originOf(spec config.Server) *origin {
	key := spec.URL.Scheme + "://" + spec.URL.Host
	if p.origins[key] == nil {
		p.origins[key] = &origin{key: key, anthropic: isAnthropic(spec.URL.Hostname()), refused: map[*account]time.Time{}}
	}
	return p.origins[key]
}

// forget drops the accounts and origins that no endpoint has any more.
func (p *Pool) forget(endpoints []*Endpoint) {
	accounts, caches, origins := map[*account]bool{}, map[*cache]bool{}, map[*origin]bool{}
	for _, e := range endpoints {
		accounts[e.state.account.Load()], caches[e.state.cache.Load()], origins[e.origin] = true, true, true
	}
	p.accounts.prune(accounts, caches)
	maps.DeleteFunc(p.origins, func(_ string, o *origin) bool { return !origins[o] })
}

// renew carries a resident over into a new generation, or makes a new one.
func (p *Pool) renew(id ID, old *poolEntry, spec config.Server, cfg *config.Config) *poolEntry {
	r := &poolEntry{}
	if old != nil {
		*r = *old
	} else {
		r.state = &endpointState{}
		r.state.account.Store(&account{cacheScope: cacheScopeOf(id[:])})
	}
	if spec.Account != "" {
		r.state.account.Store(p.accounts.named(spec.Account))
	}
	fresh := r.transport == nil || r.connect != cfg.Timeouts.Connect || r.engine != cfg.HTTPEngine
	if fresh {
		r.transport = transport.New(p.ctx, spec.URL, cfg.Timeouts.Connect, cfg.HTTPEngine)
		r.connect, r.engine = cfg.Timeouts.Connect, cfg.HTTPEngine
		if s, ok := r.transport.(transport.Warmer); ok && spec.Weight > 0 {
			p.cold = append(p.cold, coldServer{spec.Name, s})
		}
	}
	plan := healthcheck.BalancePlan{Server: spec.Name, Command: spec.BalanceCheck, Env: spec.BalanceEnv, Interval: spec.BalanceCheckInterval, Threshold: spec.BalanceThreshold}
	if r.checker == nil || r.checker.Plan != plan {
		r.checker = healthcheck.StartBalanceChecker(p.ctx, &p.wg, p.log, plan, r.state, p.OnBalance)
	}
	trip := breakerPolicyOf(cfg)
	probe := healthcheck.NewProbePlan(spec)
	if probe != (healthcheck.ProbePlan{}) {
		probe.Mark = p.markOf(id, spec)
	}
	if fresh || r.prober.Plan != probe || r.policy != trip {
		r.prober, r.policy = healthcheck.StartProber(p.ctx, &p.wg, p.log, probe, r.transport, checkedBreaker{r.state, trip, p.notifier}), trip
	}
	return r
}

func retire(old, kept map[ID]*poolEntry) {
	for id, r := range old {
		now := kept[id]
		if now == nil || now.checker != r.checker {
			r.checker.Stop()
		}
		if now == nil || now.prober != r.prober {
			r.prober.Stop()
		}
		if now == nil || now.transport != r.transport {
			r.transport.CloseIdleConnections()
		}
	}
}

// AwaitFirstReadings returns when every balance check has been read once, or when ctx ends.
func (p *Pool) AwaitFirstReadings(ctx context.Context) {
	for _, r := range p.known {
		select {
		case <-r.checker.FirstDone:
		case <-ctx.Done():
			return
		}
	}
}

func identify(spec config.Server) ID {
	token := spec.Token.Reveal()
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", spec.URL, transport.CredentialKind(spec.AuthHeader, token), token))
	return ID(sum[:16])
}

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

// Pool keeps the state of endpoints from one generation of the configuration to the next. Reconcile
// and Warm calls must not overlap; everything else is safe for concurrent use.
type Pool struct {
	ctx   context.Context
	log   *event.Bus
	known map[ID]*poolEntry
	wg    sync.WaitGroup

	// OnBalance receives every balance reading. It is set before the first Reconcile, and must not
	// block.
	OnBalance func(server string, value float64, at time.Time)

	// Loop marks the requests to the pool's servers.
	Loop *transport.Loop

	cold     []coldServer // new in the last Reconcile
	accounts *accounts
	origins  map[string]*origin // by scheme and host
	notifier *notifier
}

// poolEntry is the state of one identity.
type poolEntry struct {
	state     *endpointState
	transport transport.Transport
	connect   time.Duration     // setting of the transport
	engine    config.HTTPEngine // setting of the transport
	checker   *healthcheck.BalanceChecker
	prober    *healthcheck.Prober
	policy    breakerPolicy // setting of the prober
}

// NewPool returns an empty pool. Its balance and health checks end with ctx.
func NewPool(ctx context.Context, log *event.Bus) *Pool {
	return &Pool{
		ctx: ctx, log: log, Loop: transport.NewLoop(), known: map[ID]*poolEntry{},
		accounts: &accounts{known: map[accountKey]*account{}, workspaces: map[accountKey]*workspace{}}, origins: map[string]*origin{}, notifier: &notifier{},
	}
}

// Wait returns when all checks have ended, after the pool's context has.
func (p *Pool) Wait() { p.wg.Wait() }

// Reconcile returns the endpoints of a new generation. Known identities keep their state,
// regardless of what else has changed. The caller starts to use the endpoints and then calls
// commit, which retires what the new generation does not contain; requests in flight finish
// undisturbed.
func (p *Pool) Reconcile(cfg *config.Config) (endpoints []*Endpoint, commit func()) {
	kept := map[ID]*poolEntry{}
	p.cold = nil
	for _, spec := range cfg.Servers {
		id := identityOf(spec)
		entry := kept[id]
		if entry == nil {
			entry = p.entryFor(id, p.known[id], spec, cfg)
			kept[id] = entry
		}
		mark := p.markOf(id, spec)
		endpoints = append(endpoints, &Endpoint{
			spec: spec, mark: mark, marks: []string{mark}, policy: breakerPolicyOf(cfg), slowStart: cfg.SlowStart, id: id, state: entry.state, transport: entry.transport,
			auth: transport.NewCredential(spec.AuthHeader, spec.Token.Reveal()), accounts: p.accounts, origin: p.originOf(spec), notifier: p.notifier, log: p.log,
		})
	}
	old := p.known
	p.known = kept
	return endpoints, func() {
		retire(old, kept)
		p.prune(endpoints)
	}
}

// markOf returns the loop mark of requests to a server, or "" if they carry none.
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
		p.origins[key] = &origin{key: key, anthropic: isAnthropic(spec.URL.Hostname()), overloadedAt: map[*account]time.Time{}}
	}
	return p.origins[key]
}

// prune removes the accounts and origins that no endpoint uses.
func (p *Pool) prune(endpoints []*Endpoint) {
	accounts, workspaces, origins := map[*account]bool{}, map[*workspace]bool{}, map[*origin]bool{}
	for _, e := range endpoints {
		accounts[e.state.account.Load()], workspaces[e.state.workspace.Load()], origins[e.origin] = true, true, true
	}
	p.accounts.prune(accounts, workspaces)
	maps.DeleteFunc(p.origins, func(_ string, o *origin) bool { return !origins[o] })
}

// entryFor returns the entry of an identity in the new generation, based on its old one if there is
// one.
func (p *Pool) entryFor(id ID, old *poolEntry, spec config.Server, cfg *config.Config) *poolEntry {
	entry := &poolEntry{}
	if old != nil {
		*entry = *old
	} else {
		entry.state = &endpointState{}
		entry.state.account.Store(&account{cacheScope: cacheScopeOf(id[:])})
	}
	if spec.Account != "" {
		entry.state.account.Store(p.accounts.byName(spec.Account))
	}
	isNew := entry.transport == nil || entry.connect != cfg.Timeouts.Connect || entry.engine != cfg.HTTPEngine
	if isNew {
		entry.transport = transport.New(p.ctx, spec.URL, cfg.Timeouts.Connect, cfg.HTTPEngine)
		entry.connect, entry.engine = cfg.Timeouts.Connect, cfg.HTTPEngine
		if s, ok := entry.transport.(transport.Warmer); ok && spec.Weight > 0 {
			p.cold = append(p.cold, coldServer{spec.Name, s})
		}
	}
	plan := healthcheck.BalancePlan{Server: spec.Name, Command: spec.BalanceCheck, Env: spec.BalanceEnv, Interval: spec.BalanceCheckInterval, Threshold: spec.BalanceThreshold}
	if entry.checker == nil || entry.checker.Plan != plan {
		entry.checker = healthcheck.StartBalanceChecker(p.ctx, &p.wg, p.log, plan, entry.state, p.OnBalance)
	}
	policy := breakerPolicyOf(cfg)
	probe := healthcheck.NewProbePlan(spec)
	if probe != (healthcheck.ProbePlan{}) {
		probe.Mark = p.markOf(id, spec)
	}
	if isNew || entry.prober.Plan != probe || entry.policy != policy {
		entry.prober, entry.policy = healthcheck.StartProber(p.ctx, &p.wg, p.log, probe, entry.transport, checkedBreaker{entry.state, policy, p.notifier}), policy
	}
	return entry
}

func retire(old, kept map[ID]*poolEntry) {
	for id, entry := range old {
		now := kept[id]
		if now == nil || now.checker != entry.checker {
			entry.checker.Stop()
		}
		if now == nil || now.prober != entry.prober {
			entry.prober.Stop()
		}
		if now == nil || now.transport != entry.transport {
			entry.transport.CloseIdleConnections()
		}
	}
}

// AwaitFirstReadings returns when every balance command has run once, or when ctx ends.
func (p *Pool) AwaitFirstReadings(ctx context.Context) {
	for _, entry := range p.known {
		select {
		case <-entry.checker.FirstDone:
		case <-ctx.Done():
			return
		}
	}
}

func identityOf(spec config.Server) ID {
	token := spec.Token.Reveal()
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", spec.URL, transport.CredentialKind(spec.AuthHeader, token), token))
	return ID(sum[:16])
}

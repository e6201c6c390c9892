package upstream

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"claude-code-lb/internal/config"
)

// Pool keeps what was learned of endpoints from one generation of the
// configuration to the next. Reconcile calls must not overlap; everything else
// is safe for concurrent use.
type Pool struct {
	ctx   context.Context
	log   *slog.Logger
	known map[ID]*resident
	wg    sync.WaitGroup
}

// resident is what the pool keeps of one identity.
type resident struct {
	learned   *learned
	transport *http.Transport
	connect   time.Duration // the transport was made with
	checker   *balanceChecker
}

// NewPool makes an empty pool. Balance checks end with ctx.
func NewPool(ctx context.Context, log *slog.Logger) *Pool {
	return &Pool{ctx: ctx, log: log, known: map[ID]*resident{}}
}

// Wait returns when every balance check has ended, after the pool's context has.
func (p *Pool) Wait() { p.wg.Wait() }

// Reconcile makes the endpoints of a new generation. Identities that are known
// keep what was learned of them, whatever else about them changed. The caller
// puts the endpoints to work and then calls commit, which retires what the new
// generation no longer has; requests in flight there finish undisturbed.
func (p *Pool) Reconcile(cfg *config.Config) (endpoints []*Endpoint, commit func()) {
	kept := map[ID]*resident{}
	for _, spec := range cfg.Servers {
		id := identify(spec)
		r := kept[id]
		if r == nil {
			r = p.renew(p.known[id], spec, cfg.Timeouts.Connect)
			kept[id] = r
		}
		endpoints = append(endpoints, &Endpoint{
			spec: spec, cooldown: cfg.Cooldown, id: id, learned: r.learned, transport: r.transport, log: p.log,
		})
	}
	old := p.known
	p.known = kept
	return endpoints, func() { retire(old, kept) }
}

// renew carries a resident over into a new generation, or makes a new one.
func (p *Pool) renew(old *resident, spec config.Server, connect time.Duration) *resident {
	r := &resident{connect: connect}
	if old != nil {
		*r = *old
	} else {
		r.learned = &learned{}
	}
	if r.transport == nil || r.connect != connect {
		r.transport, r.connect = newTransport(connect), connect
	}
	plan := balancePlan{server: spec.Name, command: spec.BalanceCheck, interval: spec.BalanceCheckInterval, threshold: spec.BalanceThreshold}
	if r.checker == nil || r.checker.plan != plan {
		r.checker = p.startChecker(r.learned, plan)
	}
	return r
}

func retire(old, kept map[ID]*resident) {
	for id, r := range old {
		now := kept[id]
		if now == nil || now.checker != r.checker {
			r.checker.stop()
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
		case <-r.checker.first:
		case <-ctx.Done():
			return
		}
	}
}

func identify(spec config.Server) ID {
	token := spec.Token.Reveal()
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", spec.URL, credentialKind(spec.AuthHeader, token), token))
	return ID(sum[:16])
}

package service

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/edge"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// firstReading is how long traffic waits for the first balance readings.
const firstReading = 2 * time.Second

// Balancer is everything that serves clients, wired together. Its generations
// are applied one after the other by one goroutine.
type Balancer struct {
	ctx     context.Context
	log     *event.Bus
	level   *slog.LevelVar
	Pool    *upstream.Pool
	index   *routing.Index
	book    *quota.Book
	owners  *routing.Owners
	claims  *quota.Resources
	threads *routing.Continuations
	forward *proxy.Proxy
	Handler *edge.Handler
	Server  *edge.Server
	cfg     *config.Config
	gen     uint64
	address string            // asked for; the listener may have chosen its port
	secure  bool              // HTTPS is spoken there
	engine  config.HTTPEngine // by this
	bound   bound             // listeners that nobody serves yet
}

// Sinks are those who keep what a balancer learns and does. The zero value keeps nothing.
type Sinks struct {
	state     State
	Recorders []proxy.Recorder                                 // of requests
	history   quota.History                                    // of what was spent; nil: none
	balance   func(server string, value float64, at time.Time) // nil: nobody
}

// NewBalancer wires a first generation, which does not listen yet. Balance checks end with ctx.
func NewBalancer(ctx context.Context, cfg *config.Config, log *event.Bus, level *slog.LevelVar, kept Sinks) *Balancer {
	b := &Balancer{ctx: ctx, log: log, level: level, Pool: upstream.NewPool(ctx, log), index: routing.NewIndex(cfg.IndexMemoryMB<<20, rand.Uint64()), book: quota.NewBook(log, kept.history)}
	b.Pool.OnBalance = kept.balance
	kept.state.loadIndex(b.index) // with it the seed of all fingerprints
	snapshot, commit := b.build(cfg)
	forward := proxy.New(log.Logger, b.index.Seed(), kept.Recorders...)
	b.forward, b.owners, b.claims, b.threads = forward, forward.Owners, forward.Resources, forward.Continuations
	kept.state.loadOwners(b.owners)
	kept.state.loadClaims(b.claims)
	kept.state.loadContinuations(b.threads)
	b.Handler = edge.NewHandler(forward, log.Logger, snapshot)
	b.Server = edge.NewServer(b.Handler, log.Logger)
	commit()
	return b
}

// Listen begins to serve on the configured address.
func (b *Balancer) Listen() error { return b.bind(b.cfg) }

// bind serves where a configuration says, over HTTPS where it says so. On an error everything stays as it was.
func (b *Balancer) bind(cfg *config.Config) error {
	b.setProtocol(cfg)
	secure := cfg.Certificate != nil
	if cfg.Address() == b.address && secure == b.secure && cfg.HTTPEngine == b.engine {
		return nil
	}
	if cfg.Address() != b.address {
		if err := listenOn(b.Server, &b.bound.clients, cfg.Address(), clientsField(cfg)); err != nil {
			b.setProtocol(b.cfg)
			return err
		}
	}
	b.address, b.secure, b.engine = cfg.Address(), secure, cfg.HTTPEngine
	b.log.Info(telemetry.Listening, telemetry.Address, b.Server.Addr().String(), telemetry.TLS, secure, telemetry.HTTPEngine, cfg.HTTPEngine)
	return nil
}

// setProtocol chooses what is spoken over connections that come from now on.
func (b *Balancer) setProtocol(cfg *config.Config) {
	b.Server.SetCertificate(cfg.Certificate)
	b.Server.SetEngine(cfg.HTTPEngine)
}

// apply puts a new configuration in force: the new address first, for that can
// fail, then the new generation, and at last the old one is retired.
func (b *Balancer) apply(cfg *config.Config) error {
	if err := b.bind(cfg); err != nil {
		return err
	}
	snapshot, commit := b.build(cfg)
	b.Handler.Swap(snapshot)
	commit()
	return nil
}

// build compiles a generation. It waits a moment for the first balance readings, so that an empty account gets no traffic.
func (b *Balancer) build(cfg *config.Config) (*edge.Snapshot, func()) {
	b.gen++
	b.cfg = cfg
	b.level.Set(slog.LevelInfo)
	if cfg.Debug {
		b.level.Set(slog.LevelDebug)
	}
	endpoints, commit := b.Pool.Reconcile(cfg)
	b.Pool.Warm()
	ctx, cancel := context.WithTimeout(b.ctx, firstReading)
	defer cancel()
	b.Pool.AwaitFirstReadings(ctx)
	snapshot := &edge.Snapshot{
		Gen: b.gen, Guard: edge.NewGuard(cfg.Auth, b.book.Compile(ctx, cfg, time.Now())), Book: b.book, Proxies: cfg.Proxies(), Table: routing.NewTable(cfg, endpoints, b.index, routing.Random),
		Limits: limitsOf(cfg), Browsers: edge.NewBrowsers(cfg.CORSOrigins, cfg.Auth), Loop: b.Pool.Loop, Forward: forwarding(cfg, b.log.Logger), Mode: string(cfg.Mode),
		LoadBalancer: string(cfg.Algorithm), Cooldown: cfg.Cooldown,
	}
	if cfg.Mode == config.ModeLoadBalance {
		snapshot.Algorithm = string(cfg.Algorithm)
	}
	return snapshot, commit
}

// limitsOf bounds what clients may send. All bodies together may take a quarter of the memory that there is, unless the configuration says otherwise.
func limitsOf(cfg *config.Config) edge.Limits {
	const usual, share = 1 << 30, 4
	l := edge.Limits{MaxBody: int64(cfg.MaxBodyMB) << 20, MaxUpload: int64(cfg.MaxUploadMB) << 20, InFlight: int64(cfg.MaxInflightBytes), BodyWait: cfg.MaxWait}
	if l.InFlight == 0 {
		l.InFlight = usual
		if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
			l.InFlight = min(usual, limit/share)
		}
	}
	l.InFlight = max(l.InFlight, l.MaxBody)
	return l
}

func forwarding(cfg *config.Config, log *slog.Logger) *proxy.Settings {
	s := &proxy.Settings{
		FirstContent: cfg.Timeouts.ResponseHeader, NonStreaming: cfg.Timeouts.NonStreaming, Idle: cfg.Timeouts.Idle, Total: cfg.Timeouts.Total,
		MaxAttempts: maxAttempts(cfg), MaxWait: cfg.MaxWait, BurstHold: cfg.BurstHold, StreamKeepalive: cfg.StreamKeepalive, Hedge: cfg.Hedge,
		RetryPercent: cfg.RetryBudget, RetryFloor: cfg.RetryFloor, Rules: verdict.NewRules(cfg.ErrorRules), Prices: ledger.ListPrices().With(ownPrices(cfg)), PassCredentials: !cfg.Auth,
		SharedResources: cfg.Resources == config.ResourcesShared, SoleTenant: tenants(cfg) == 1,
	}
	if cfg.Debug {
		s.Dump = telemetry.NewDump(log, telemetry.NewRedactor(secrets(cfg)))
	}
	return s
}

// maxAttempts settles 0: every server is tried, some of them twice, but one request does not go through a whole large fleet.
func maxAttempts(cfg *config.Config) int {
	const few, many = 4, 10
	if cfg.MaxAttempts > 0 {
		return cfg.MaxAttempts
	}
	return min(max(2*len(cfg.Servers), few), many)
}

// secrets lists every credential of a configuration, for redaction.
func secrets(cfg *config.Config) []string {
	var all []string
	for _, s := range cfg.Servers {
		all = append(all, s.Token.Reveal())
	}
	for _, k := range cfg.AuthKeys {
		all = append(all, k.Key.Reveal())
	}
	for _, w := range cfg.Webhooks {
		all = append(all, w.URL.Reveal(), w.Secret.Reveal())
	}
	return append(all, cfg.AdminKey.Reveal(), cfg.Ledger.Reveal())
}

// tenants is how many client keys, or groups of them, there are.
func tenants(cfg *config.Config) int {
	seen := map[string]bool{}
	for i := range cfg.AuthKeys {
		seen[cfg.AuthKeys[i].Tenant()] = true
	}
	return len(seen)
}

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

// firstReading limits how long the start waits for balance readings and for the ledger.
const firstReading = 2 * time.Second

// Balancer connects everything that serves clients. One goroutine applies its generations.
type Balancer struct {
	ctx           context.Context
	log           *event.Bus
	level         *slog.LevelVar
	Pool          *upstream.Pool
	index         *routing.Index
	book          *quota.Book
	owners        *routing.Owners
	resources     *quota.Resources
	continuations *routing.Continuations
	proxy         *proxy.Proxy
	Handler       *edge.Handler
	Server        *edge.Server
	cfg           *config.Config
	gen           uint64
	address       string            // as configured; with port 0 the listener has another one
	secure        bool              // the listener speaks HTTPS
	engine        config.HTTPEngine // of the listener
	bound         bound             // listeners that are open and do not serve yet
}

// Sinks receive what a balancer learns and does. The zero value keeps nothing.
type Sinks struct {
	state     State
	Recorders []proxy.Recorder                                 // receive the entry of each request
	history   quota.History                                    // earlier spending of client keys; may be nil
	balance   func(server string, value float64, at time.Time) // receives balance readings; may be nil
}

// NewBalancer wires a first generation, which does not listen yet. Balance checks end with ctx.
func NewBalancer(ctx context.Context, cfg *config.Config, log *event.Bus, level *slog.LevelVar, sinks Sinks) *Balancer {
	b := &Balancer{
		ctx: ctx, log: log, level: level, Pool: upstream.NewPool(ctx, log),
		index: routing.NewIndex(cfg.IndexMemoryMB<<20, rand.Uint64()), book: quota.NewBook(log, sinks.history),
	}
	b.Pool.OnBalance = sinks.balance
	sinks.state.loadIndex(b.index) // replaces the seed of all fingerprints, which the proxy needs
	snapshot, commit := b.build(cfg)
	b.proxy = proxy.New(log.Logger, b.index.Seed(), sinks.Recorders...)
	b.owners, b.resources, b.continuations = b.proxy.Owners, b.proxy.Resources, b.proxy.Continuations
	sinks.state.loadOwners(b.owners)
	sinks.state.loadResources(b.resources)
	sinks.state.loadContinuations(b.continuations)
	b.Handler = edge.NewHandler(b.proxy, log.Logger, snapshot)
	b.Server = edge.NewServer(b.Handler, log.Logger)
	commit()
	return b
}

// Listen starts to serve on the configured address.
func (b *Balancer) Listen() error { return b.listenAs(b.cfg) }

// listenAs serves on the address of a configuration, with its protocol. On an error everything
// stays as it was.
func (b *Balancer) listenAs(cfg *config.Config) error {
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

// setProtocol sets TLS and the HTTP engine for future connections.
func (b *Balancer) setProtocol(cfg *config.Config) {
	b.Server.SetCertificate(cfg.Certificate)
	b.Server.SetEngine(cfg.HTTPEngine)
}

// apply puts a new configuration in force. It binds the new address first, because that can fail.
// Then it swaps the generation, and retires the old one.
func (b *Balancer) apply(cfg *config.Config) error {
	if err := b.listenAs(cfg); err != nil {
		return err
	}
	snapshot, commit := b.build(cfg)
	b.Handler.Swap(snapshot)
	commit()
	return nil
}

// build compiles a generation. It waits up to firstReading for balance readings, so that an empty
// account gets no traffic. commit retires the endpoints of the former generation.
func (b *Balancer) build(cfg *config.Config) (snapshot *edge.Snapshot, commit func()) {
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
	snapshot = &edge.Snapshot{
		Gen: b.gen, Mode: string(cfg.Mode), LoadBalancer: string(cfg.Algorithm), Cooldown: cfg.Cooldown, TimeZone: cfg.TimeZone, ShowServers: cfg.MeShowsServers,
		Guard: edge.NewGuard(cfg.Auth, b.book.Compile(ctx, cfg, time.Now())), Book: b.book,
		Proxies: cfg.Proxies(), Browsers: edge.NewBrowsers(cfg.CORSOrigins, cfg.Auth), Loop: b.Pool.Loop,
		Limits: limitsOf(cfg), Forward: forwarding(cfg, b.log.Logger),
		Table: routing.NewTable(cfg, endpoints, b.index, routing.Random),
	}
	if cfg.Mode == config.ModeLoadBalance {
		snapshot.Algorithm = string(cfg.Algorithm)
	}
	return snapshot, commit
}

// limitsOf returns the limits of request bodies. Without max_inflight_bytes, all bodies together
// may take a quarter of the memory limit, and 1 GiB at most.
func limitsOf(cfg *config.Config) edge.Limits {
	const usual, share = 1 << 30, 4
	l := edge.Limits{
		MaxBody: int64(cfg.MaxBodyMB) << 20, MaxUpload: int64(cfg.MaxUploadMB) << 20,
		InFlight: int64(cfg.MaxInflightBytes), BodyWait: cfg.MaxWait,
	}
	if l.InFlight == 0 {
		l.InFlight = usual
		if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
			l.InFlight = min(usual, limit/share)
		}
	}
	l.InFlight = max(l.InFlight, l.MaxBody)
	return l
}

// forwarding returns the settings of the proxy.
func forwarding(cfg *config.Config, log *slog.Logger) *proxy.Settings {
	s := &proxy.Settings{
		FirstContent: cfg.Timeouts.ResponseHeader, NonStreaming: cfg.Timeouts.NonStreaming,
		Idle: cfg.Timeouts.Idle, Total: cfg.Timeouts.Total, StreamKeepalive: cfg.StreamKeepalive,
		MaxAttempts: maxAttempts(cfg), MaxWait: cfg.MaxWait, BurstHold: cfg.BurstHold, Hedge: cfg.Hedge,
		RetryPercent: cfg.RetryBudget, RetryFloor: cfg.RetryFloor, Rules: verdict.NewRules(cfg.ErrorRules),
		Prices: ledger.ListPrices().With(configuredPrices(cfg)), PassCredentials: !cfg.Auth,
		SharedResources: cfg.Resources == config.ResourcesShared, SoleTenant: tenants(cfg) == 1,
	}
	if cfg.Debug {
		s.Dump = telemetry.NewDump(log, telemetry.NewRedactor(secrets(cfg)))
	}
	return s
}

// maxAttempts returns the limit of attempts for a request. The default is two for each server, but
// not fewer than few, and not more than many: one request does not try all servers of a large
// fleet.
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

// tenants counts the client keys, a group of keys as one.
func tenants(cfg *config.Config) int {
	seen := map[string]bool{}
	for i := range cfg.AuthKeys {
		seen[cfg.AuthKeys[i].Tenant()] = true
	}
	return len(seen)
}

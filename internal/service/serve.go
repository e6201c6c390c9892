package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/member"
	"github.com/9bingyin/claude-code-lb/internal/observe"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/store"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	statisticsPeriod = 5 * time.Minute
	// restorePeriod is how often the ledger is asked again for what client keys have spent, while
	// it has not answered yet.
	restorePeriod = 30 * time.Second
)

// Run serves until a signal ends it, and returns the exit status.
func Run(std Std, file string) int {
	watched := &watchedFile{path: ConfigPath(std, file)}
	cfg, problems, ok := loadToServe(std, watched)
	if !ok {
		return ExitError
	}
	level := new(slog.LevelVar)
	log, flush := telemetry.NewBackgroundLogger(std.Err, telemetry.Format(cfg.LogFormat), level, std.Env)
	defer flush()
	listeners, err := bind(cfg)
	if err != nil {
		logProblems(log, problems)
		log.Error(telemetry.NotStarted, telemetry.Err, err)
		return ExitError
	}
	state := NewState(std, watched.path, cfg, log)
	logProblems(log, append(append(problems, weakKeys(cfg)...), ModeProblems(watched.path, cfg, state.dir)...))
	logStart(log, watched.path, cfg)
	tuneMemory(std, log)
	reportDescriptors(log)

	// From here on signals are received: one that comes during the start must not be lost.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE) // the reader of the log may close the pipe, and the process continues

	s := &service{
		std: std, file: watched, state: state, signals: signals, stats: ledger.NewStats(time.Now()),
		metrics: observe.NewMetrics(release()), reloads: make(chan reloadRequest), stopping: make(chan struct{}),
	}
	defer s.start(cfg, log, level, listeners)()
	if err := s.listen(cfg); err != nil {
		log.Error(telemetry.Stopped, telemetry.Err, err)
		return ExitError
	}
	s.metrics.RecordConfig(s.gen, string(cfg.HTTPEngine), time.Now())
	return s.run()
}

// loadToServe loads the first configuration. If it cannot be used, it prints the reasons and
// returns false.
func loadToServe(std Std, file *watchedFile) (*config.Config, config.Problems, bool) {
	cfg, problems, err := file.load(std)
	if err != nil {
		ExplainUnreadable(std.Err, file.path, err)
		return nil, nil, false
	}
	if problems.Failed() {
		for _, p := range problems {
			fmt.Fprintln(std.Err, p)
		}
		fmt.Fprintln(std.Err, "claude-code-lb: the configuration has errors; nothing was started")
		return nil, nil, false
	}
	return cfg, problems, true
}

// service is a balancer with the events that concern it as a process.
type service struct {
	*Balancer
	stats   *ledger.Stats
	books   *store.Writer // nil: no ledger
	metrics *observe.Metrics
	admin   *adminServer
	std     Std
	file    *watchedFile
	state   State
	signals <-chan os.Signal
	notify  *notify

	reloads  chan reloadRequest
	stopping chan struct{} // closed when there will be no further reload
	stale    staleness
}

// start wires the balancer and starts its goroutines. stop ends them in this order: first the parts
// that read from the balancer, then the balancer, and last the ledger, which may still receive
// entries.
func (s *service) start(cfg *config.Config, log *slog.Logger, level *slog.LevelVar, listeners bound) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	notify, bus := newNotify(log, cfg)
	s.notify = notify
	members := member.New()
	sinks := Sinks{state: s.state, Recorders: []proxy.Recorder{s.stats, s.metrics, notify.outage, notify.cache, members}}
	awaitLedger := s.startLedger(ctx, cfg, bus, &sinks)
	s.Balancer = NewBalancer(ctx, cfg, bus, level, sinks)
	s.bound = listeners
	if s.books != nil {
		s.Handler.Unwritten = s.books.Unwritten
	}
	s.showMembers(members)
	stopTraces := startTraces(s.std, s.Balancer, log)
	stopNotify := notify.run(ctx, s.Balancer)
	s.admin = newAdminServer(s.Balancer, s.metrics, s.books, s.askReload)
	return func() {
		s.admin.end()
		stopNotify()
		stopTraces()
		cancel()
		s.Pool.Wait()
		awaitLedger()
	}
}

// startLedger opens the ledger, if there is one, adds it to the sinks, and starts its writer. wait
// returns when the writer has ended, which it does after ctx.
func (s *service) startLedger(ctx context.Context, cfg *config.Config, bus *event.Bus, sinks *Sinks) (wait func()) {
	s.books = newLedger(LedgerAt(s.file.path, cfg, s.state), cfg, bus, spillOf(s.std, s.file.path, s.state))
	if s.books == nil {
		return func() {}
	}
	sinks.Recorders = append(sinks.Recorders, s.books)
	sinks.balance, sinks.history = s.books.Balance, s.books
	opening, opened := context.WithTimeout(ctx, firstReading)
	defer opened()
	s.books.Open(opening)
	var writing sync.WaitGroup
	writing.Go(func() { s.books.Run(ctx) })
	return writing.Wait
}

// listen starts both listeners. That of the clients comes first: its port has precedence over the
// default port of the admin listener.
func (s *service) listen(cfg *config.Config) error {
	if err := s.Listen(); err != nil {
		return err
	}
	return s.admin.serve(cfg)
}

// run handles events until a signal ends the process.
func (s *service) run() int {
	statistics := time.NewTicker(statisticsPeriod)
	defer statistics.Stop()
	save := time.NewTicker(snapshotPeriod)
	defer save.Stop()
	saveOwners := time.NewTicker(ownersPeriod)
	defer saveOwners.Stop()
	restore := time.NewTicker(restorePeriod)
	defer restore.Stop()
	look := time.NewTicker(watchInterval)
	defer look.Stop()
	for {
		select {
		case <-statistics.C:
			s.logStatistics()
		case <-save.C:
			s.state.saveIndex(s.index)
			s.state.saveContinuations(s.continuations)
		case <-saveOwners.C:
			s.state.saveOwners(s.owners, s.resources)
		case <-restore.C:
			s.restoreBudgets()
		case <-look.C:
			if s.file.changed() {
				s.reload()
			}
			s.remindOfFailedReload(time.Now())
		case req := <-s.reloads:
			req.done <- s.reload()
		case sig := <-s.signals:
			if sig == syscall.SIGHUP {
				s.reload()
				continue
			}
			return s.drain(sig)
		}
	}
}

// restoreBudgets asks the ledger for the spending of client keys that is not known yet.
func (s *service) restoreBudgets() {
	ctx, cancel := context.WithTimeout(s.ctx, firstReading)
	defer cancel()
	s.book.Restore(ctx, time.Now())
}

// reload applies the file's present content. If that fails, the old configuration stays in force,
// and the log has the reason.
func (s *service) reload() reloadResult {
	r := s.reloadFile()
	s.admin.noteReload(r, time.Now())
	return r
}

func (s *service) reloadFile() reloadResult {
	cfg, problems, err := s.file.load(s.std)
	logProblems(s.log.Logger, problems)
	if err == nil && !problems.Failed() {
		logProblems(s.log.Logger, weakKeys(cfg))
	}
	if err == nil && problems.Failed() {
		err = errors.New("the configuration has errors")
	}
	if err == nil {
		err = s.put(cfg)
	}
	if err == nil && s.books != nil {
		s.books.Bound(ledgerBounds(cfg))
	}
	if err != nil {
		s.metrics.RecordReloadFailure()
		s.stale.begin(err, time.Now())
		s.log.Publish(s.ctx, event.ReloadFailed{File: s.file.path, Err: err})
		return reloadResult{s.gen, problems, err}
	}
	s.stale = staleness{}
	s.metrics.RecordConfig(s.gen, string(cfg.HTTPEngine), time.Now())
	s.notify.hooks.Apply(cfg.Webhooks)
	s.log.Publish(s.ctx, event.Reloaded{File: s.file.path, Generation: s.gen, Servers: len(cfg.Servers)})
	return reloadResult{s.gen, problems, nil}
}

// put applies a configuration: first to the admin listener, because that can be undone.
func (s *service) put(cfg *config.Config) error {
	old := s.cfg
	if err := s.admin.serve(cfg); err != nil {
		return err
	}
	if err := s.apply(cfg); err != nil {
		return errors.Join(err, s.admin.serve(old))
	}
	return nil
}

// drain lets open requests finish, up to the drain time or a second signal.
func (s *service) drain(sig os.Signal) int {
	close(s.stopping)
	limit := s.cfg.DrainTimeout
	s.log.Publish(s.ctx, event.Draining{Signal: sig.String(), Open: s.Handler.Open(), Limit: limit})
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go func() {
		for {
			select {
			case again := <-s.signals:
				if again != syscall.SIGHUP {
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	status := ExitOK
	if err := s.Server.Drain(ctx); err != nil {
		s.log.Warn(telemetry.DrainEnded, telemetry.Open, s.Handler.Open())
		status = ExitError
	}
	s.logStatistics()
	s.state.saveIndex(s.index)
	s.state.saveContinuations(s.continuations)
	s.state.saveOwners(s.owners, s.resources)
	s.log.Info(telemetry.Stopped)
	return status
}

func (s *service) logStatistics() {
	sums, period := s.stats.Take(time.Now())
	for _, sum := range sums {
		s.log.Info(telemetry.Statistics, telemetry.Server, sum.Server,
			telemetry.Requests, sum.Requests, telemetry.Errors, sum.Errors,
			telemetry.MeanFirstByte, sum.MeanFirstByte.Round(time.Millisecond),
			telemetry.P95FirstByte, sum.P95FirstByte.Round(time.Millisecond),
			telemetry.Period, period.Round(time.Second))
	}
}

// weakKeys are the warnings about keys that can be guessed. logStart has a separate warning for
// access without a key.
func weakKeys(cfg *config.Config) config.Problems {
	return slices.DeleteFunc(slices.Clone(cfg.Weak), func(p config.Problem) bool { return p.Path == "auth" })
}

func logProblems(log *slog.Logger, problems config.Problems) {
	for _, p := range problems {
		level := slog.LevelError
		if p.Warning {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, telemetry.ConfigProblem, telemetry.Problem, p.String())
	}
}

// logStart logs the configuration that is about to run, without credentials.
func logStart(log *slog.Logger, path string, cfg *config.Config) {
	attrs := []any{telemetry.Version, Version(), telemetry.Config, path, telemetry.Mode, cfg.Mode}
	if cfg.Mode == config.ModeLoadBalance {
		attrs = append(attrs, telemetry.Algorithm, cfg.Algorithm)
	}
	attrs = append(attrs, telemetry.Affinity, cfg.Affinity)
	log.Info(telemetry.Starting, append(attrs,
		telemetry.Auth, cfg.Auth, telemetry.Cooldown, cfg.Cooldown, telemetry.MaxBodyMB, cfg.MaxBodyMB,
		telemetry.ConnectTimeout, cfg.Timeouts.Connect, telemetry.HeaderTimeout, cfg.Timeouts.ResponseHeader,
		telemetry.PlainTimeout, cfg.Timeouts.NonStreaming, telemetry.IdleTimeout, cfg.Timeouts.Idle,
		telemetry.DrainTimeout, cfg.DrainTimeout, telemetry.TotalTimeout, cfg.Timeouts.Total,
		telemetry.MaxAttempts, maxAttempts(cfg), telemetry.MaxWait, cfg.MaxWait,
		telemetry.StreamKeepalive, cfg.StreamKeepalive, telemetry.Hedge, cfg.Hedge, telemetry.HTTPEngine, cfg.HTTPEngine)...)
	for _, server := range cfg.Servers {
		log.Info(telemetry.ServerListed, telemetry.Server, server.Name, telemetry.URL, server.URL.String(),
			telemetry.Weight, server.Weight, telemetry.Priority, server.Priority,
			telemetry.Token, !server.Token.Empty(), telemetry.BalanceCheck, !server.BalanceCheck.Empty())
	}
	if host, _, err := net.SplitHostPort(cfg.Address()); err == nil && !cfg.Auth && !config.IsLoopback(host) {
		log.Warn(telemetry.OpenToAll, telemetry.Address, cfg.Address())
	}
}

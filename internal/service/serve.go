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
	"github.com/9bingyin/claude-code-lb/internal/observe"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/store"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	statisticsPeriod = 5 * time.Minute
	// restorePeriod is how often the ledger is asked what keys had spent, where it could not tell before.
	restorePeriod = 30 * time.Second
)

// Run serves until a signal ends it.
func Run(std Std, file string) int {
	path := ConfigPath(std, file)
	watched := &watchedFile{path: path}
	cfg, problems, err := watched.load(std)
	if err != nil {
		ExplainUnreadable(std.Err, path, err)
		return ExitError
	}
	if problems.Failed() {
		for _, p := range problems {
			fmt.Fprintln(std.Err, p)
		}
		fmt.Fprintln(std.Err, "claude-code-lb: the configuration has errors; nothing was started")
		return ExitError
	}
	level := new(slog.LevelVar)
	log, flush := telemetry.NewBackgroundLogger(std.Err, telemetry.Format(cfg.LogFormat), level, std.Env)
	defer flush()
	opened, err := bind(cfg)
	if err != nil {
		logProblems(log, problems)
		log.Error(telemetry.NotStarted, telemetry.Err, err)
		return ExitError
	}
	notify, bus := newNotify(log, cfg)
	kept := NewState(std, path, cfg, log)
	logProblems(log, append(append(problems, weakKeys(cfg)...), ModeProblems(path, cfg, kept.dir)...))
	logStart(log, path, cfg)
	tuneMemory(std, log)
	reportDescriptors(log)

	// Watched from here on: a signal during start-up must not be lost.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE) // the reader of the log may close the pipe, and the process continues

	ctx, cancel := context.WithCancel(context.Background())
	stats := ledger.NewStats(time.Now())
	metrics := observe.NewMetrics(release())
	keep := Sinks{state: kept, Recorders: []proxy.Recorder{stats, metrics, notify.outage, notify.cache}}
	books := newLedger(LedgerAt(path, cfg, kept), cfg, bus, spillOf(std, path, kept))
	if books != nil {
		keep.Recorders, keep.balance, keep.history = append(keep.Recorders, books), books.Balance, books
		opening, opened := context.WithTimeout(ctx, firstReading)
		books.Open(opening)
		opened()
		var writing sync.WaitGroup
		writing.Go(func() { books.Run(ctx) })
		defer writing.Wait()
	}
	b := NewBalancer(ctx, cfg, bus, level, keep)
	b.bound = opened
	if books != nil {
		b.Handler.Unwritten = books.Unwritten
	}
	defer b.Pool.Wait()
	defer cancel()
	defer startTraces(std, b, log)()
	defer notify.run(ctx, b)()
	s := &service{
		Balancer: b, stats: stats, books: books, metrics: metrics, notify: notify, std: std, file: watched, state: kept, signals: signals,
		reloads: make(chan reloadRequest), stopping: make(chan struct{}),
	}
	s.admin = newAdminServer(b, metrics, books, s.askReload)
	defer s.admin.end()
	err = b.Listen() // first: clients' port beats the usual one of the admin listener
	if err == nil {
		err = s.admin.serve(cfg)
	}
	if err != nil {
		log.Error(telemetry.Stopped, telemetry.Err, err)
		return ExitError
	}
	metrics.Applied(b.gen, string(cfg.HTTPEngine), time.Now())
	return s.run()
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
	stopping chan struct{} // closed when no reload will be made any more
	stale    staleness
}

// run handles events until the process is told to end.
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
			s.state.saveContinuations(s.threads)
		case <-saveOwners.C:
			s.state.saveOwners(s.owners, s.claims)
		case <-restore.C:
			s.restoreBudgets()
		case <-look.C:
			if s.file.changed() {
				s.reload()
			}
			s.remindOfFailedReload(time.Now())
		case wish := <-s.reloads:
			wish.done <- s.reload()
		case sig := <-s.signals:
			if sig == syscall.SIGHUP {
				s.reload()
				continue
			}
			return s.drain(sig)
		}
	}
}

// restoreBudgets asks the ledger for what it could not tell so far.
func (s *service) restoreBudgets() {
	ctx, cancel := context.WithTimeout(s.ctx, firstReading)
	defer cancel()
	s.book.Restore(ctx, time.Now())
}

// reload puts the file's present content in force, or keeps the old
// configuration and says why.
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
		s.metrics.ReloadFailed()
		s.stale.begin(err, time.Now())
		s.log.Publish(s.ctx, event.ReloadFailed{File: s.file.path, Err: err})
		return reloadResult{s.gen, problems, err}
	}
	s.stale = staleness{}
	s.metrics.Applied(s.gen, string(cfg.HTTPEngine), time.Now())
	s.notify.hooks.Apply(cfg.Webhooks)
	s.log.Publish(s.ctx, event.Reloaded{File: s.file.path, Generation: s.gen, Servers: len(cfg.Servers)})
	return reloadResult{s.gen, problems, nil}
}

// put puts a configuration in force: the admin listener first, for it can be put back.
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
	s.state.saveContinuations(s.threads)
	s.state.saveOwners(s.owners, s.claims)
	s.log.Info(telemetry.Stopped)
	return status
}

func (s *service) logStatistics() {
	sums, period := s.stats.Take(time.Now())
	for _, sum := range sums {
		s.log.Info(telemetry.Statistics, telemetry.Server, sum.Server, telemetry.Requests, sum.Requests, telemetry.Errors, sum.Errors,
			telemetry.MeanTTFT, sum.MeanFirstByte.Round(time.Millisecond), telemetry.P95TTFT, sum.P95FirstByte.Round(time.Millisecond),
			telemetry.Period, period.Round(time.Second))
	}
}

// weakKeys are the warnings of keys that can be guessed. Access without a key has a line of its own.
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

// logStart tells what is about to run, credentials excepted.
func logStart(log *slog.Logger, path string, cfg *config.Config) {
	attrs := []any{telemetry.Version, Version(), telemetry.Config, path, telemetry.Mode, cfg.Mode}
	if cfg.Mode == config.ModeLoadBalance {
		attrs = append(attrs, telemetry.Algorithm, cfg.Algorithm)
	}
	attrs = append(attrs, telemetry.Affinity, cfg.Affinity)
	log.Info(telemetry.Starting, append(attrs, telemetry.Auth, cfg.Auth, telemetry.Cooldown, cfg.Cooldown, telemetry.MaxBodyMB, cfg.MaxBodyMB,
		telemetry.ConnectTimeout, cfg.Timeouts.Connect, telemetry.HeaderTimeout, cfg.Timeouts.ResponseHeader,
		telemetry.PlainTimeout, cfg.Timeouts.NonStreaming, telemetry.IdleTimeout, cfg.Timeouts.Idle, telemetry.DrainTimeout, cfg.DrainTimeout,
		telemetry.TotalTimeout, cfg.Timeouts.Total, telemetry.MaxAttempts, maxAttempts(cfg), telemetry.MaxWait, cfg.MaxWait,
		telemetry.Silence, cfg.StreamKeepalive, telemetry.Hedge, cfg.Hedge, telemetry.HTTPEngine, cfg.HTTPEngine)...)
	for _, server := range cfg.Servers {
		log.Info(telemetry.ServerListed, telemetry.Server, server.Name, telemetry.URL, server.URL.String(), telemetry.Weight, server.Weight,
			telemetry.Priority, server.Priority, telemetry.Token, !server.Token.Empty(), telemetry.BalanceCheck, !server.BalanceCheck.Empty())
	}
	if host, _, err := net.SplitHostPort(cfg.Address()); err == nil && !cfg.Auth && !IsLoopback(host) {
		log.Warn(telemetry.OpenToAll, telemetry.Address, cfg.Address())
	}
}

func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

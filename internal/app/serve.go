package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"claude-code-lb/internal/config"
	"claude-code-lb/internal/ledger"
	"claude-code-lb/internal/telemetry"
)

const statisticsPeriod = 5 * time.Minute

// runServe serves until a signal ends it.
func runServe(std Std, file string) int {
	path := configPath(std, file)
	watched := &watchedFile{path: path}
	cfg, problems, err := watched.load(std)
	if err != nil {
		explainUnreadable(std.Err, path, err)
		return exitError
	}
	if problems.Failed() {
		for _, p := range problems {
			fmt.Fprintln(std.Err, p)
		}
		fmt.Fprintln(std.Err, "claude-code-lb: the configuration has errors; nothing was started")
		return exitError
	}
	level := new(slog.LevelVar)
	log := telemetry.NewLogger(std.Err, telemetry.Format(cfg.LogFormat), level, std.Env)
	told, log := newTold(log, cfg)
	logProblems(log, problems)
	logStart(log, path, cfg)

	// Watched from here on: a signal during start-up must not be lost.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	ctx, cancel := context.WithCancel(context.Background())
	stats := ledger.NewStats(time.Now())
	kept := newState(std, path, cfg, log)
	b := newBalancer(ctx, cfg, log, level, kept, stats, told.outage, told.cache)
	defer b.pool.Wait()
	defer cancel()
	defer startTraces(std, b, log)()
	defer told.run(ctx, b)()
	if err := b.listen(); err != nil {
		log.Error(telemetry.Stopped, telemetry.Err, err)
		return exitError
	}
	s := &service{balancer: b, stats: stats, std: std, file: watched, state: kept, signals: signals, told: told}
	return s.run()
}

// service is a balancer with the events that concern it as a process.
type service struct {
	*balancer
	stats   *ledger.Stats
	std     Std
	file    *watchedFile
	state   state
	signals <-chan os.Signal
	told    *told
}

// run handles events until the process is told to end.
func (s *service) run() int {
	statistics := time.NewTicker(statisticsPeriod)
	defer statistics.Stop()
	save := time.NewTicker(snapshotPeriod)
	defer save.Stop()
	saveOwners := time.NewTicker(ownersPeriod)
	defer saveOwners.Stop()
	look := time.NewTicker(watchInterval)
	defer look.Stop()
	for {
		select {
		case <-statistics.C:
			s.logStatistics()
		case <-save.C:
			s.state.saveIndex(s.index)
		case <-saveOwners.C:
			s.state.saveOwners(s.owners)
		case <-look.C:
			if s.file.changed() {
				s.reload()
			}
		case sig := <-s.signals:
			if sig == syscall.SIGHUP {
				s.reload()
				continue
			}
			return s.drain(sig)
		}
	}
}

// reload puts the file's present content in force, or keeps the old
// configuration and says why.
func (s *service) reload() {
	cfg, problems, err := s.file.load(s.std)
	logProblems(s.log, problems)
	if err == nil && problems.Failed() {
		err = errors.New("the configuration has errors")
	}
	if err == nil {
		err = s.apply(cfg)
	}
	if err != nil {
		s.log.Error(telemetry.ReloadFailed, telemetry.Config, s.file.path, telemetry.Err, err)
		return
	}
	s.told.hooks.Apply(cfg.Webhooks)
	s.log.Info(telemetry.Reloaded, telemetry.Config, s.file.path, telemetry.Generation, s.gen, telemetry.Servers, len(cfg.Servers))
}

// drain lets open requests finish, up to the drain time or a second signal.
func (s *service) drain(sig os.Signal) int {
	limit := s.cfg.DrainTimeout
	s.log.Info(telemetry.Draining, telemetry.Signal, sig.String(), telemetry.Open, s.handler.Open(), telemetry.DrainTimeout, limit)
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
	status := exitOK
	if err := s.server.Drain(ctx); err != nil {
		s.log.Warn(telemetry.DrainEnded, telemetry.Open, s.handler.Open())
		status = exitError
	}
	s.logStatistics()
	s.state.saveIndex(s.index)
	s.state.saveOwners(s.owners)
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
	attrs := []any{telemetry.Version, version(), telemetry.Config, path, telemetry.Mode, cfg.Mode}
	if cfg.Mode == config.ModeLoadBalance {
		attrs = append(attrs, telemetry.Algorithm, cfg.Algorithm)
	}
	attrs = append(attrs, telemetry.Affinity, cfg.Affinity)
	log.Info(telemetry.Starting, append(attrs, telemetry.Auth, cfg.Auth, telemetry.Cooldown, cfg.Cooldown, telemetry.MaxBodyMB, cfg.MaxBodyMB,
		telemetry.ConnectTimeout, cfg.Timeouts.Connect, telemetry.HeaderTimeout, cfg.Timeouts.ResponseHeader,
		telemetry.PlainTimeout, cfg.Timeouts.NonStreaming, telemetry.IdleTimeout, cfg.Timeouts.Idle, telemetry.DrainTimeout, cfg.DrainTimeout,
		telemetry.TotalTimeout, cfg.Timeouts.Total, telemetry.MaxAttempts, maxAttempts(cfg), telemetry.MaxWait, cfg.MaxWait,
		telemetry.Silence, cfg.Silence, telemetry.Hedge, cfg.Hedge)...)
	for _, server := range cfg.Servers {
		log.Info(telemetry.ServerListed, telemetry.Server, server.Name, telemetry.URL, server.URL.String(), telemetry.Weight, server.Weight,
			telemetry.Priority, server.Priority, telemetry.Token, !server.Token.Empty(), telemetry.BalanceCheck, !server.BalanceCheck.Empty())
	}
	if host, _, err := net.SplitHostPort(cfg.Address()); err == nil && !cfg.Auth && !isLoopback(host) {
		log.Warn(telemetry.OpenToAll, telemetry.Address, cfg.Address())
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// privateClient is the name of the only client key of a private balancer.
const privateClient = "run"

// Private is a balancer for one program on this machine. It listens on a free port of the loopback
// interface, knows one client key, and keeps neither state nor ledger: another balancer with the
// same configuration may run beside it.
type Private struct {
	balancer *Balancer
	stop     context.CancelFunc
}

// UnusedByPrivate lists the sections that a private balancer does not use.
func UnusedByPrivate() []string {
	return []string{"auth_keys", "webhooks", "admin_key", "ledger", "tls_cert"}
}

// TokenlessServers returns the names of the servers without a token, which get the client's own
// credential. A private balancer has none to give: its client sends the key of the balancer.
func TokenlessServers(cfg *config.Config) []string {
	var names []string
	for _, s := range cfg.Servers {
		if s.Token.Empty() {
			names = append(names, s.Name)
		}
	}
	return names
}

// Recorder receives an entry for each request.
type Recorder interface{ Record(ledger.Entry) }

// StartPrivate starts a private balancer that serves the key.
func StartPrivate(cfg *config.Config, key config.Secret, log *slog.Logger, recorder Recorder) (*Private, error) {
	if names := TokenlessServers(cfg); len(names) > 0 {
		return nil, fmt.Errorf("servers without a token: %s. They would get the client's own credential, but a private balancer gives its client a key of the balancer: write a token for each, or use the balancer without run", strings.Join(names, ", "))
	}
	own := *cfg
	own.Listen, own.Admin = "127.0.0.1:0", config.AdminOff
	own.TLSCert, own.TLSKey, own.Certificate = "", "", nil
	own.Auth, own.AuthKeys = true, []config.ClientKey{{Key: key, Name: privateClient, Place: "auth_keys[0]"}}
	own.CORSOrigins, own.TrustedProxies, own.Debug = nil, nil, false
	ctx, stop := context.WithCancel(context.Background())
	b := NewBalancer(ctx, &own, event.NewBus(log), new(slog.LevelVar), Sinks{Recorders: []proxy.Recorder{recorder}})
	p := &Private{b, stop}
	if err := b.Listen(); err != nil {
		p.Stop(0)
		return nil, err
	}
	return p, nil
}

// URL returns the base URL.
func (p *Private) URL() string { return "http://" + p.balancer.Server.Addr().String() }

// Stop lets open requests finish for some time, and ends the balancer. Afterwards no entry is
// recorded.
func (p *Private) Stop(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if p.balancer.Server.Addr() != nil {
		_ = p.balancer.Server.Drain(ctx) // the error is that the time was up
	}
	p.stop()
	p.balancer.Pool.Wait()
}

// PrivateLog returns the log of a private balancer: a file that is appended to, or nothing, because
// the terminal belongs to the program that uses the balancer.
func PrivateLog(std Std, file string) (log *slog.Logger, flush func(), err error) {
	if file == "" {
		return slog.New(slog.DiscardHandler), func() {}, nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	log, written := telemetry.NewBackgroundLogger(f, telemetry.FormatAuto, slog.LevelInfo, std.Env)
	return log, func() { written(); f.Close() }, nil
}

package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	balanceTimeLimit   = 30 * time.Second
	balanceOutputLimit = 64 << 10
)

// balance is what the last successful reading said. It is a state of its own:
// no cooldown ends it, only a reading above the threshold does.
type balance struct {
	low   bool
	value float64 // of the last reading
	known bool
}

// balancePlan is what the operator asked for. A zero command means no checks.
type balancePlan struct {
	server    string
	command   config.Secret
	env       config.Secret // further variables of the command: name=value, separated by NUL
	interval  time.Duration
	threshold float64
}

// balanceChecker runs one server's balance command, one run after the other.
type balanceChecker struct {
	plan   balancePlan
	first  chan struct{} // closed after the first run
	cancel context.CancelFunc
	log    *slog.Logger
	told   func(server string, value float64, at time.Time) // nil: nobody
}

// startChecker begins checking, or, without a command, forgets that the balance was low.
func (p *Pool) startChecker(l *learned, plan balancePlan) *balanceChecker {
	ctx, cancel := context.WithCancel(p.ctx)
	c := &balanceChecker{plan: plan, first: make(chan struct{}), cancel: cancel, log: p.log, told: p.OnBalance}
	if plan.command.Empty() {
		cancel()
		close(c.first)
		l.forgetBalance()
		return c
	}
	p.wg.Go(func() { c.run(ctx, l) })
	return c
}

func (c *balanceChecker) stop() { c.cancel() }

func (c *balanceChecker) run(ctx context.Context, l *learned) {
	c.check(ctx, l)
	close(c.first)
	tick := time.NewTicker(c.plan.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.check(ctx, l)
		}
	}
}

func (c *balanceChecker) check(ctx context.Context, l *learned) {
	value, err := readBalance(ctx, c.plan.command.Reveal(), c.plan.env.Reveal())
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.log.Warn(telemetry.BalanceUnknown, telemetry.Server, c.plan.server, telemetry.Err, err)
		return
	}
	now := time.Now()
	if c.told != nil {
		c.told(c.plan.server, value, now)
	}
	low := value <= c.plan.threshold
	switch changed := l.setBalance(value, low, now); {
	case changed && low:
		c.log.Warn(telemetry.BalanceLow, telemetry.Server, c.plan.server, telemetry.Balance, value, telemetry.Threshold, c.plan.threshold)
	case changed:
		c.log.Info(telemetry.BalanceRestored, telemetry.Server, c.plan.server, telemetry.Balance, value, telemetry.Threshold, c.plan.threshold)
	default:
		c.log.Debug(telemetry.BalanceRead, telemetry.Server, c.plan.server, telemetry.Balance, value)
	}
}

// setBalance stores a reading and reports whether it changed anything. An
// account that was out for want of money is tried again when its balance has risen.
func (l *learned) setBalance(value float64, low bool, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed, risen := l.balance.low != low, l.balance.known && value > l.balance.value
	l.balance = balance{low: low, value: value, known: true}
	if risen {
		l.account.Load().recover(now)
	}
	return changed
}

func (l *learned) forgetBalance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.balance = balance{}
}

// readBalance runs a command and parses the number it prints. Its error never
// quotes the command's output, which may hold credentials.
func readBalance(ctx context.Context, command, env string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, balanceTimeLimit)
	defer cancel()
	out := boundedBuffer{limit: balanceOutputLimit}
	cmd := shell(ctx, command, env != "")
	cmd.Env = commandEnv(command, os.LookupEnv)
	if env != "" {
		cmd.Env = append(cmd.Env, strings.Split(env, "\x00")...)
	}
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return 0, fmt.Errorf("not done after %s", balanceTimeLimit)
	case err != nil:
		return 0, fmt.Errorf("balance command: %w", err)
	case out.overflow:
		return 0, fmt.Errorf("printed more than %d bytes", balanceOutputLimit)
	}
	return parseBalance(out.buf.String())
}

// parseBalance reads one number. Quotes around it are forgiven: jq prints strings with them.
func parseBalance(s string) (float64, error) {
	s = strings.TrimSpace(s)
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		s = strings.TrimSpace(s[1 : len(s)-1])
	}
	if s == "" {
		return 0, errors.New("printed nothing; it must print one number")
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("printed %d bytes that are not one number", len(s))
	}
	return v, nil
}

// commandEnv is the environment a command gets: what a shell and its tools
// need, and the variables that its text names. Everything else, other
// upstreams' keys among it, stays with the balancer.
func commandEnv(command string, lookup func(string) (string, bool)) []string {
	names := []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"SYSTEMROOT", "COMSPEC", "PATHEXT", "TEMP", "TMP", "USERPROFILE"}
	for _, m := range regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)|%([A-Za-z_][A-Za-z0-9_]*)%`).FindAllStringSubmatch(command, -1) {
		names = append(names, m[1]+m[2])
	}
	var env []string
	for _, name := range names {
		if value, ok := lookup(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// boundedBuffer keeps the beginning of what is written and swallows the rest.
type boundedBuffer struct {
	buf      bytes.Buffer
	limit    int
	overflow bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := b.limit - b.buf.Len()
	if len(p) > room {
		b.overflow = true
		b.buf.Write(p[:room])
		return len(p), nil
	}
	return b.buf.Write(p)
}

package healthcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	balanceTimeLimit   = 30 * time.Second
	balanceOutputLimit = 64 << 10
)

// BalancePlan is the configuration of a server's balance command. With an empty Command there are
// no checks.
type BalancePlan struct {
	Server    string
	Command   config.Secret
	Env       config.Secret // additional variables of the command: name=value, separated by NUL
	Interval  time.Duration
	Threshold float64
}

// BalanceChecker runs one server's balance command, one run at a time.
type BalanceChecker struct {
	Plan      BalancePlan
	FirstDone chan struct{} // closed after the first run
	cancel    context.CancelFunc
	log       *event.Bus
	report    func(server string, value float64, at time.Time) // may be nil
}

// balanceTarget is the state that balance readings change.
type balanceTarget interface {
	// SetBalance stores a reading and reports whether low has changed.
	SetBalance(value float64, low bool, now time.Time) bool
	// ForgetBalance ends the effect of earlier readings.
	ForgetBalance()
}

// StartBalanceChecker starts the checks of one server. Without a command it only makes the target
// forget earlier readings. The checks end with ctx or with Stop; wg counts the goroutine until
// then. report, which may be nil, receives every reading and must not block.
func StartBalanceChecker(ctx context.Context, wg *sync.WaitGroup, log *event.Bus, plan BalancePlan, target balanceTarget, report func(server string, value float64, at time.Time)) *BalanceChecker {
	ctx, cancel := context.WithCancel(ctx)
	c := &BalanceChecker{Plan: plan, FirstDone: make(chan struct{}), cancel: cancel, log: log, report: report}
	if plan.Command.Empty() {
		cancel()
		close(c.FirstDone)
		target.ForgetBalance()
		return c
	}
	wg.Go(func() { c.run(ctx, target) })
	return c
}

func (c *BalanceChecker) Stop() { c.cancel() }

func (c *BalanceChecker) run(ctx context.Context, target balanceTarget) {
	c.Check(ctx, target)
	close(c.FirstDone)
	tick := time.NewTicker(c.Plan.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.Check(ctx, target)
		}
	}
}

func (c *BalanceChecker) Check(ctx context.Context, target balanceTarget) {
	value, err := readBalance(ctx, c.Plan.Command.Reveal(), c.Plan.Env.Reveal())
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.log.Warn(telemetry.BalanceUnknown, telemetry.Server, c.Plan.Server, telemetry.Err, err)
		return
	}
	now := time.Now()
	if c.report != nil {
		c.report(c.Plan.Server, value, now)
	}
	low := value <= c.Plan.Threshold
	switch changed := target.SetBalance(value, low, now); {
	case changed:
		c.log.Publish(ctx, event.BalanceChanged{Server: c.Plan.Server, Balance: value, Threshold: c.Plan.Threshold, Low: low})
	default:
		c.log.Debug(telemetry.BalanceRead, telemetry.Server, c.Plan.Server, telemetry.Balance, value)
	}
}

// readBalance runs a command and parses the number that it prints. The error never quotes the
// command's output, because that may contain credentials.
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
		return 0, fmt.Errorf("timed out after %s", balanceTimeLimit)
	case err != nil:
		return 0, fmt.Errorf("balance command: %w", err)
	case out.overflow:
		return 0, fmt.Errorf("printed more than %d bytes", balanceOutputLimit)
	}
	return parseBalance(out.buf.String())
}

// parseBalance parses one number. Quotes around it are accepted, because jq prints strings in
// quotes.
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

// commandEnv returns the environment of a command: the variables that a shell and its tools need,
// and those that the command's text names. The command does not see any other variable, because one
// may contain another upstream's key.
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

// boundedBuffer keeps the first limit bytes that are written and discards the rest.
type boundedBuffer struct {
	buf      bytes.Buffer
	limit    int
	overflow bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	remaining := b.limit - b.buf.Len()
	if len(p) > remaining {
		b.overflow = true
		b.buf.Write(p[:remaining])
		return len(p), nil
	}
	return b.buf.Write(p)
}

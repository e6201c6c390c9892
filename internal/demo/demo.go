package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const intro = `claude-code-lb demo shows the balancer at work: clients that talk like Claude Code, and
three simulated upstreams that fail and recover in turn. Nothing leaves this machine.

Usage: claude-code-lb demo [flags]

The exit status is 1 when a client request failed.

Flags:
`

// configText is a configuration as a user would write it. Cooldown and timeouts are short, so that
// a recovery is visible.
const configText = `{
  "listen": "${DEMO_LISTEN}",
  "cooldown": "2s",
  "slow_start": "2s",
  "timeouts": {"response_header": "1.2s", "non_streaming": "2s", "idle": "5s"},
  "servers": [
    {"name": "alpha", "url": "${ALPHA_URL}", "token": "demo-token-of-alpha"},
    {"name": "beta", "url": "${BETA_URL}", "token": "demo-token-of-beta"},
    {"name": "gamma", "url": "${GAMMA_URL}", "token": "demo-token-of-gamma"},
  ],
}
`

const (
	// grace is how long requests in flight may continue at the end.
	grace       = 3 * time.Second
	maxSessions = 100
)

// options are the flags of the command.
type options struct {
	duration time.Duration // 0: until ctx ends
	listen   string
	sessions int
	seed     uint64
	verbose  bool
}

// Run runs the demo until ctx ends or the time is up. The exit status is 1 if a client request
// failed or the demo cannot start, and 2 if the command line is invalid.
func Run(ctx context.Context, std service.Std, args []string) int {
	f, err := parseOptions(std.Out, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return service.ExitOK
	case err != nil:
		fmt.Fprintln(std.Err, "demo:", err)
		return service.ExitUsage
	}
	view := newScreen(std)
	if err := run(ctx, std, f, view); err != nil {
		fmt.Fprintln(std.Err, "demo:", err)
		return service.ExitError
	}
	if view.failures() > 0 {
		return service.ExitError
	}
	return service.ExitOK
}

// run starts everything, waits for the end of the traffic and stops everything: first the
// clients, then the balancer, then the upstreams.
func run(ctx context.Context, std service.Std, f options, view *screen) error {
	// The servers outlive ctx, which only ends the traffic.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var servers sync.WaitGroup
	defer servers.Wait()
	defer stop()
	upstreams, err := startUpstreams(serving, &servers, f.seed)
	if err != nil {
		return err
	}
	cfg, err := decodeConfig(f.listen, upstreams)
	if err != nil {
		return err
	}
	b := service.NewBalancer(serving, cfg, event.NewBus(newLogger(std, f.verbose)), new(slog.LevelVar), service.Sinks{Recorders: []proxy.Recorder{view}})
	servers.Go(b.Pool.Wait)
	if err := b.Listen(); err != nil {
		return err
	}
	base := "http://" + service.LocalAddress(b.Server.Addr().String())
	view.open(base, upstreams)
	defer view.close()

	if f.duration > 0 {
		limited, cancel := context.WithTimeout(ctx, f.duration)
		defer cancel()
		ctx = limited
	}
	var director sync.WaitGroup
	director.Go(func() { playScenes(ctx, script(), upstreams, view) })
	newTraffic(base, f.seed, view).run(ctx, f.sessions)
	director.Wait()

	limit := time.Now().Add(grace)
	view.setDrainDeadline(limit)
	draining, cancel := context.WithDeadline(serving, limit)
	defer cancel()
	// Only guests can be left; their responses are cut.
	_ = b.Server.Drain(draining)
	return nil
}

// simulatedUpstream is a simulated upstream with a separate account.
type simulatedUpstream struct {
	name string
	url  string
	fake *fakeclaude.Server
}

// startUpstreams serves the upstreams until ctx ends.
func startUpstreams(ctx context.Context, servers *sync.WaitGroup, seed uint64) ([]simulatedUpstream, error) {
	var upstreams []simulatedUpstream
	for i, name := range []string{"alpha", "beta", "gamma"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("listen for %s: %w", name, err)
		}
		fake := fakeclaude.New(fakeclaude.Options{
			Name: name, Seed: seed + uint64(i), Keys: []string{"demo-token-of-" + name}, KeepRequests: -1,
			Settings: fakeclaude.Settings{
				FirstToken:    fakeclaude.Duration(time.Duration(60+30*i) * time.Millisecond),
				Prefill:       fakeclaude.Duration(12 * time.Millisecond),
				TokenInterval: fakeclaude.Duration(4 * time.Millisecond),
				MinOutput:     15, MaxOutput: 70,
			},
		})
		// If one ends early, the demo shows how the balancer reacts.
		servers.Go(func() { _ = fakeclaude.Serve(ctx, fake, listener, io.Discard) })
		upstreams = append(upstreams, simulatedUpstream{name: name, url: "http://" + listener.Addr().String(), fake: fake})
	}
	return upstreams, nil
}

// decodeConfig decodes the demo's configuration as a file would be decoded.
func decodeConfig(listen string, upstreams []simulatedUpstream) (*config.Config, error) {
	variables := map[string]string{"DEMO_LISTEN": listen}
	for _, u := range upstreams {
		variables[strings.ToUpper(u.name)+"_URL"] = u.url
	}
	cfg, problems := config.Decode("demo", []byte(configText), func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s: %s", problems[0].Path, problems[0].Msg)
	}
	return cfg, nil
}

func newLogger(std service.Std, verbose bool) *slog.Logger {
	if !verbose {
		return slog.New(slog.DiscardHandler)
	}
	return telemetry.NewLogger(std.Err, telemetry.FormatText, slog.LevelInfo, std.Env)
}

func parseOptions(helpOut io.Writer, args []string) (options, error) {
	f := options{}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.DurationVar(&f.duration, "for", 0, "`time` after which the demo ends; 0 is at Ctrl-C")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "`address` of the balancer; port 0 picks a free one")
	flags.IntVar(&f.sessions, "sessions", 6, "`number` of sessions at the same time")
	flags.Uint64Var(&f.seed, "seed", 1, "`number` that prompts and responses depend on")
	flags.BoolVar(&f.verbose, "v", false, "also write the balancer's log, to standard error")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(helpOut, intro)
		flags.SetOutput(helpOut)
		flags.PrintDefaults()
		return f, err
	case err != nil:
		return f, err
	case flags.NArg() > 0:
		return f, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case f.duration < 0:
		return f, fmt.Errorf("-for %s: want a time above 0", f.duration)
	case f.sessions < 1 || f.sessions > maxSessions:
		return f, fmt.Errorf("-sessions %d: want 1 to %d", f.sessions, maxSessions)
	}
	if _, err := net.ResolveTCPAddr("tcp", f.listen); err != nil {
		return f, fmt.Errorf("-listen: %w", err)
	}
	return f, nil
}

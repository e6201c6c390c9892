// Command bench measures the cost of claude-code-lb beside a direct connection, nginx and HAProxy,
// on this machine.
//
// Everything runs on the loopback interface: a load generator in this process, the simulated
// Messages API in a second process, and between them one proxy at a time, started again for every
// run. The processor time that a proxy takes per unit of work is comparable between machines, even
// busy ones; all other figures compare only within one comparison.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if spec, isUpstream := os.LookupEnv(upstreamVariable); isUpstream {
		if err := serveUpstreams(spec); err != nil {
			fmt.Fprintln(os.Stderr, "bench: upstream:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

const intro = `bench compares claude-code-lb with a direct connection, and with nginx and HAProxy where they are installed.

Usage: go run ./bench [flags]

Flags:
`

// options are the flags of the command.
type options struct {
	only    []string
	reps    int
	seconds float64
	streams int
	tls     bool
	engine  string // http_engine of claude-code-lb, "" for its default
	write   bool
	profile string
}

// run is the command. The exit status is 1 without a result and 2 if the command line is invalid.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	o, err := parseFlags(args, out)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(errOut, "bench:", err)
		return 2
	}
	if err := o.compare(ctx, out, errOut); err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	return 0
}

func parseFlags(args []string, helpOut io.Writer) (options, error) {
	o := options{only: kinds()}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Func("only", "kinds of work, a `list` with commas of "+strings.Join(kinds(), ", ")+" (default all)", func(list string) error {
		o.only = strings.Split(list, ",")
		for _, name := range o.only {
			if !slices.Contains(kinds(), name) {
				return fmt.Errorf("no work is called %q: there are %s", name, strings.Join(kinds(), ", "))
			}
		}
		return nil
	})
	flags.IntVar(&o.reps, "reps", 3, "`number` of runs of each; medians are shown")
	flags.Float64Var(&o.seconds, "seconds", 4, "`length` of the measured part of a run")
	flags.IntVar(&o.streams, "streams", 500, "`number` of open streams")
	flags.BoolVar(&o.tls, "tls", false, "upstreams over TLS, with HTTP/1.1 and with HTTP/2, and clients over TLS")
	flags.StringVar(&o.engine, "engine", "", "http_engine of claude-code-lb, fast or go (default: its own)")
	flags.BoolVar(&o.write, "write", false, "write the table into docs/performance.md, and the plot beside it")
	flags.StringVar(&o.profile, "profile", "", "measure claude-code-lb alone and write its processor profile into `file`, for go tool pprof")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(helpOut, intro)
		flags.SetOutput(helpOut)
		flags.PrintDefaults()
		return o, err
	case err != nil:
		return o, err
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, o.validate()
}

func (o options) validate() error {
	switch {
	case o.engine != "" && o.engine != "fast" && o.engine != "go":
		return fmt.Errorf("-engine %s: fast or go", o.engine)
	case o.engine == "go" && o.write:
		return errors.New("-engine go: docs/performance.md shows the default engine, measure without -write")
	case o.reps < 1 || o.reps > 100:
		return fmt.Errorf("-reps %d: from 1 to 100", o.reps)
	case !(o.seconds >= 0.1 && o.seconds <= 600):
		return fmt.Errorf("-seconds %v: from 0.1 to 600", o.seconds)
	case o.streams < 1 || o.streams > 20000:
		return fmt.Errorf("-streams %d: from 1 to 20000", o.streams)
	case o.profile != "" && o.write:
		return errors.New("-profile compares nothing, so that there is nothing to -write")
	case o.tls && runtime.GOOS == "darwin":
		return errors.New("-tls: on macOS no variable makes a program trust the certificate of this comparison")
	}
	return nil
}

// compare makes all runs and prints the results.
func (o options) compare(ctx context.Context, out, errOut io.Writer) error {
	if need, limit := uint64(2*o.streams+500), raiseFileLimit(); limit > 0 && limit < need && slices.Contains(o.only, "streams") {
		return fmt.Errorf("%d streams need %d open files and the limit is %d: raise it with `ulimit -n`, or open fewer with -streams", o.streams, need, limit)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "claude-code-lb-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeCertificate(dir); err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	program, err := build(ctx, root, dir)
	if err != nil {
		return err
	}
	window := time.Duration(o.seconds * float64(time.Second))
	b := bench{dir: dir, window: window, warmup: min(window/2, time.Second)}
	if o.profile != "" {
		return o.takeProfile(ctx, b, program, out, errOut)
	}
	others, missing := peers(ctx)
	for _, name := range missing {
		fmt.Fprintf(errOut, "%s is not in PATH: it is left out\n", name)
	}
	results, err := o.runAll(ctx, b, append([]proxy{direct(), balancer(program, o.engine)}, others...), errOut)
	if err != nil {
		return err
	}
	text := setup(o, others) + "\n\n" + markdown(results, o.tls)
	fmt.Fprintf(out, "\n%s", text)
	if !o.write {
		return nil
	}
	return publish(root, text, results, o.tls)
}

// takeProfile runs all kinds of work with the product alone.
func (o options) takeProfile(ctx context.Context, b bench, program string, out, errOut io.Writer) error {
	b.profiler = &profiler{dir: b.dir}
	if _, err := o.runAll(ctx, b, []proxy{balancer(program, o.engine)}, errOut); err != nil {
		return err
	}
	if err := b.profiler.merge(ctx, o.profile); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s has a profile of %d runs\n", o.profile, len(b.profiler.files))
	return nil
}

// runAll runs every work with every proxy once, and then again, so that a disturbance of the
// machine affects all alike.
func (o options) runAll(ctx context.Context, b bench, proxies []proxy, progress io.Writer) ([]*result, error) {
	wires := []wire{wirePlain}
	if o.tls {
		wires = []wire{wireTLS, wireHTTP2, wireClients}
	}
	var results []*result
	for _, over := range wires {
		for _, w := range works(o.streams, b.window) {
			for _, p := range proxies {
				if slices.Contains(o.only, w.name) && slices.Contains(p.wires, over) {
					results = append(results, &result{wire: over, work: w, proxy: p})
				}
			}
		}
	}
	for round := range o.reps {
		for _, r := range results {
			if r.failed {
				continue
			}
			fmt.Fprintf(progress, "round %d of %d: %s, %s, %s\n", round+1, o.reps, r.work.name, r.proxy.name, r.wire)
			m, err := b.measure(ctx, r.proxy, r.work, r.wire)
			switch {
			case err != nil && (ctx.Err() != nil || r.isDirect() || r.proxy.name == ours):
				return nil, fmt.Errorf("%s through %s: %w", r.work.name, r.proxy.name, err)
			case err != nil: // another version of a peer may reject the configuration: the other results are still useful
				fmt.Fprintf(progress, "  left out: %v\n", err)
				r.failed = true
				continue
			}
			if m.errors > 0 {
				fmt.Fprintf(progress, "  %d errors, the last one: %v\n", m.errors, m.problem)
			}
			r.runs = append(r.runs, m)
		}
	}
	return slices.DeleteFunc(results, func(r *result) bool { return r.failed }), nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	file := strings.TrimSpace(string(out))
	if err != nil || filepath.Base(file) != "go.mod" {
		return "", fmt.Errorf("run this in the folder of claude-code-lb, with Go installed: go env GOMOD says %q, %v", file, err)
	}
	return filepath.Dir(file), nil
}

// build builds the product of this tree with the flags of a release.
func build(ctx context.Context, root, dir string) (string, error) {
	program := filepath.Join(dir, ours)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", ours, err, bytes.TrimSpace(out))
	}
	return program, nil
}

// setup describes in one sentence what was compared on which machine.
func setup(o options, others []proxy) string {
	text := fmt.Sprintf("%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	for _, p := range others {
		text += fmt.Sprintf(", %s %s", p.name, p.version)
	}
	return fmt.Sprintf("%s; medians of %d × %g s; %d streams.", text, o.reps, o.seconds, o.streams)
}

// Command soak keeps the balancer busy for a while, in front of upstreams that fail in every way,
// and checks that heap, goroutines and file descriptors do not grow.
//
//	go run ./bench/soak -for 20m -rate 400
//
// Run it in the project's directory: it builds the program. It exits with status 1 if something
// grows, or if a request fails that should not have.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"time"
)

// options are the flags of the command.
type options struct {
	length time.Duration
	every  time.Duration // between two samples
	rate   float64       // requests per second
	open   int           // most requests in flight
	binary string        // "": build from the working directory
}

func main() {
	var o options
	flag.DurationVar(&o.length, "for", 20*time.Minute, "how long")
	flag.DurationVar(&o.every, "every", 10*time.Second, "how often to look")
	flag.Float64Var(&o.rate, "rate", 400, "requests per second; the table shows the share of a processor that the balancer takes for them")
	flag.IntVar(&o.open, "open", 500, "how many requests may be under way; beyond it the rate is not reached")
	flag.StringVar(&o.binary, "binary", "", "the program to soak (default: the one of this directory, built for it)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := soak(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// soak runs everything and prints the result. The error describes unexpected results.
func soak(ctx context.Context, o options, out io.Writer) error {
	if o.length <= 0 || o.every <= 0 || o.rate <= 0 || o.rate > 1e5 || o.open <= 0 {
		return errors.New("-for, -every, -rate and -open must be above 0, and -rate at most 100000")
	}
	dir, err := os.MkdirTemp("", "claude-code-lb-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.binary == "" {
		o.binary = filepath.Join(dir, "claude-code-lb.exe") // a name that every system can run
		build := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "github.com/9bingyin/claude-code-lb")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build the program: %w", err)
		}
	}
	upstreams, err := startUpstreams()
	if err != nil {
		return err
	}
	defer upstreams.close()
	b, err := startBalancer(ctx, o.binary, dir, upstreams)
	if err != nil {
		return err
	}
	defer b.stop()
	return b.soak(ctx, o, upstreams, out)
}

// soak runs the clients while samples are taken.
func (b *balancer) soak(ctx context.Context, o options, u *upstreams, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.length)
	defer cancel()
	c := newCrowd(b.url)
	var busy sync.WaitGroup
	busy.Go(func() { c.ask(ctx, o.rate, o.open) })
	busy.Go(func() { u.rotate(ctx) })
	samples, err := b.watch(ctx, o.every, c, out)
	cancel()
	busy.Wait()
	faults, cut := u.struck()
	fmt.Fprintf(out, "%s; %d faults struck, %d answers were cut\n", c.counts(), faults, cut)
	switch {
	case err != nil:
		return err
	case faults == 0:
		err = errors.New("no fault struck: the soak shows nothing")
	}
	return errors.Join(err, judge(samples, out), c.verdict())
}

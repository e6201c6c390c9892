package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is the balancer's usage at a time, after a garbage collection.
type sample struct {
	at          time.Duration // since the beginning
	cpu         float64       // processor seconds so far
	heap        float64       // bytes
	resident    float64       // bytes
	goroutines  float64
	descriptors float64
}

// watch takes samples until ctx ends, and prints each.
func (b *balancer) watch(ctx context.Context, every time.Duration, c *crowd, out io.Writer) ([]sample, error) {
	begin := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var all []sample
	fmt.Fprintf(out, "%8s %6s %9s %9s %11s %12s %9s %5s %7s\n", "time", "cpu %", "heap MB", "rss MB", "goroutines", "descriptors", "requests", "open", "failed")
	for {
		select {
		case <-ctx.Done():
			return all, nil
		case <-b.ended:
			return all, errors.New("the balancer has ended")
		case <-tick.C:
		}
		s, err := b.sample()
		if err != nil {
			return all, err
		}
		s.at = time.Since(begin)
		share := 0.0
		if n := len(all); n > 0 {
			share = 100 * (s.cpu - all[n-1].cpu) / (s.at - all[n-1].at).Seconds()
		}
		all = append(all, s)
		fmt.Fprintf(out, "%8s %6.0f %9.1f %9.1f %11.0f %12.0f %9d %5d %7d\n",
			s.at.Round(time.Second), share, s.heap/1e6, s.resident/1e6, s.goroutines, s.descriptors, c.asked.Load(), c.open.Load(), c.failed.Load())
	}
}

func (b *balancer) sample() (s sample, err error) {
	if _, err := b.get("/debug/pprof/heap?gc=1"); err != nil {
		return s, err
	}
	text, err := b.get("/metrics")
	if err != nil {
		return s, err
	}
	places := map[string]*float64{
		"process_cpu_seconds_total": &s.cpu, "go_memstats_heap_alloc_bytes": &s.heap, "process_resident_memory_bytes": &s.resident,
		"go_goroutines": &s.goroutines, "process_open_fds": &s.descriptors,
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if place := places[name]; place != nil {
			if *place, err = strconv.ParseFloat(value, 64); err != nil {
				return s, err
			}
		}
	}
	if s.heap == 0 || s.goroutines == 0 {
		return s, errors.New("/metrics tells nothing of heap and goroutines")
	}
	return s, nil
}

// least is the number of samples that a trend needs.
const least = 8

// judge compares the second quarter with the last one, because bounded memory fills up in the
// first.
func judge(all []sample, out io.Writer) error {
	if len(all) < least {
		return fmt.Errorf("%d samples are too few to see a trend: %d are needed", len(all), least)
	}
	var grown []error
	for _, what := range []struct {
		name string
		of   func(sample) float64
		unit float64
		room float64 // tolerance in addition to 10 %
	}{
		{"heap MB", func(s sample) float64 { return s.heap }, 1e6, 4e6},
		{"goroutines", func(s sample) float64 { return s.goroutines }, 1, 60},
		{"descriptors", func(s sample) float64 { return s.descriptors }, 1, 40},
	} {
		before, after := median(quarter(all, 1), what.of), median(quarter(all, 3), what.of)
		fmt.Fprintf(out, "%-12s second quarter %8.1f, last quarter %8.1f\n", what.name, before/what.unit, after/what.unit)
		if after > 1.1*before+what.room {
			grown = append(grown, fmt.Errorf("%s: grown from %.1f to %.1f", what.name, before/what.unit, after/what.unit))
		}
	}
	return errors.Join(grown...)
}

// quarter returns the n-th quarter of the samples, from 0.
func quarter(all []sample, n int) []sample { return all[n*len(all)/4 : (n+1)*len(all)/4] }

func median(all []sample, of func(sample) float64) float64 {
	values := make([]float64, len(all))
	for i, s := range all {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

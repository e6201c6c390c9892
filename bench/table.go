package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// result is all runs of one work through one proxy.
type result struct {
	wire   wire
	work   work
	proxy  proxy
	runs   []measurement
	failed bool // it could not be run
}

// typical returns the median of every figure, and the sum of the errors.
func (r *result) typical() measurement {
	m := measurement{
		cpu:     median(r.runs, func(m measurement) time.Duration { return m.cpu }),
		p50:     median(r.runs, func(m measurement) time.Duration { return m.p50 }),
		p99:     median(r.runs, func(m measurement) time.Duration { return m.p99 }),
		first99: median(r.runs, func(m measurement) time.Duration { return m.first99 }),
		memory:  median(r.runs, func(m measurement) float64 { return m.memory }),
	}
	for _, run := range r.runs {
		m.units += run.units
		m.errors += run.errors
	}
	return m
}

func median[T ~int64 | ~float64](runs []measurement, of func(measurement) T) T {
	values := make([]T, 0, len(runs))
	for _, m := range runs {
		values = append(values, of(m))
	}
	return quantile(values, .5)
}

// isDirect reports whether there was no proxy.
func (r *result) isDirect() bool { return r.proxy.program == "" }

// sameRun returns the result of another proxy for the same work and wire, nil if there is none.
func (r *result) sameRun(all []*result, fits func(*result) bool) *result {
	for _, other := range all {
		if other.wire == r.wire && other.work.name == r.work.name && fits(other) {
			return other
		}
	}
	return nil
}

// reference returns the result whose processor time is the base: nginx's, or without it HAProxy's,
// or nil.
func (r *result) reference(all []*result) *result {
	for _, name := range [...]string{"nginx", "HAProxy"} {
		if found := r.sameRun(all, func(o *result) bool { return o.proxy.name == name }); found != nil && found.typical().cpu > 0 {
			return found
		}
	}
	return nil
}

// ratio returns a result's processor time relative to its reference; 0 if unknown.
func (r *result) ratio(all []*result) float64 {
	reference := r.reference(all)
	if reference == nil || r.isDirect() {
		return 0
	}
	return float64(r.typical().cpu) / float64(reference.typical().cpu)
}

// markdown returns the table of all results. An unknown figure is a dash.
func markdown(all []*result, withWire bool) string {
	header := []string{"work", "through", "CPU of the proxy", "ratio", "latency p50", "p99", "first event p99", "memory per stream", "errors"}
	left := 2
	if withWire {
		header, left = append([]string{"wire"}, header...), 3
	}
	rule := make([]string, len(header))
	for i := range rule {
		rule[i] = "--:"
		if i < left {
			rule[i] = "---"
		}
	}
	var text strings.Builder
	line := func(cells []string) { fmt.Fprintf(&text, "| %s |\n", strings.Join(cells, " | ")) }
	line(header)
	fmt.Fprintf(&text, "|%s|\n", strings.Join(rule, "|"))
	for _, r := range all {
		cells := r.cells(all)
		if withWire {
			cells = append([]string{string(r.wire)}, cells...)
		}
		line(cells)
	}
	return text.String()
}

func (r *result) cells(all []*result) []string {
	const none = "–"
	cpu, ratio, p50, p99, first, memory := none, none, none, none, none, none
	m := r.typical()
	if !r.isDirect() {
		cpu = fmt.Sprintf("%.1f µs per %s", float64(m.cpu)/1e3, r.work.unit)
	}
	if reference := r.reference(all); reference != nil && !r.isDirect() {
		ratio = fmt.Sprintf("%.2f × %s", r.ratio(all), reference.proxy.name)
	}
	switch direct := r.sameRun(all, (*result).isDirect); {
	case r.work.hold:
		first = fmt.Sprintf("%.1f ms", milliseconds(m.first99))
	case r.isDirect() || direct == nil:
		p50, p99 = fmt.Sprintf("%.2f ms", milliseconds(m.p50)), fmt.Sprintf("%.2f ms", milliseconds(m.p99))
	default:
		d := direct.typical()
		p50, p99 = fmt.Sprintf("%+.2f ms", milliseconds(m.p50-d.p50)), fmt.Sprintf("%+.2f ms", milliseconds(m.p99-d.p99))
	}
	if r.work.hold && !r.isDirect() {
		memory = fmt.Sprintf("%.1f KB", m.memory/1000)
	}
	return []string{r.work.name, r.proxy.name, cpu, ratio, p50, p99, first, memory, fmt.Sprint(m.errors)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// publish writes the table into the documentation, and for upstreams without TLS the plot.
func publish(root, text string, all []*result, tls bool) error {
	file := filepath.Join(root, "docs", "performance.md")
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	section := "plain"
	if tls {
		section = "tls"
	}
	changed, err := replaceSection(string(page), section, text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		return err
	}
	if bars := ratios(all); !tls && len(bars) > 0 {
		return os.WriteFile(filepath.Join(root, "docs", "images", "performance.svg"), plot(bars), 0o644)
	}
	return nil
}

// replaceSection replaces the text between the marks of a section.
func replaceSection(page, name, text string) (string, error) {
	begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
	before, rest, found := strings.Cut(page, begin)
	_, after, ends := strings.Cut(rest, end)
	if !found || !ends {
		return "", fmt.Errorf("the marks %s and %s are missing", strings.TrimSpace(begin), end)
	}
	return before + begin + text + end + after, nil
}

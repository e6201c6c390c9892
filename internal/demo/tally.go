package demo

import (
	"fmt"
	"io"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// tally sums up a whole demo. Its owner guards it.
type tally struct {
	attempts *ledger.Stats // of all requests
	streams  *ledger.Stats // of streams only, because others have no first token
	usage    map[string]claude.Usage

	requests       int
	failures       int // requests that failed for their client
	savedRequests  int // requests with failed attempts that got a response
	hiddenFailures int // those failed attempts
}

func newTally(now time.Time) *tally {
	return &tally{attempts: ledger.NewStats(now), streams: ledger.NewStats(now), usage: map[string]claude.Usage{}}
}

func (t *tally) add(e ledger.Entry) {
	t.requests++
	t.attempts.Record(e)
	if e.Stream {
		t.streams.Record(e)
	}
	if e.Outcome != ledger.Answered {
		return
	}
	u := t.usage[e.Server()]
	used := e.Usage()
	u.InputTokens += used.TotalInputTokens()
	u.OutputTokens += used.OutputTokens
	u.CacheReadTokens += used.CacheReadTokens
	t.usage[e.Server()] = u
	if failed := len(e.Attempts) - 1; failed > 0 && e.Attempts[failed].Reason == "" {
		t.savedRequests++
		t.hiddenFailures += failed
	}
}

// summarize writes a table of the upstreams and the effect on clients.
func (t *tally) summarize(w io.Writer, names []string, paint paint, now time.Time) {
	attempts, period := t.attempts.Take(now)
	streams, _ := t.streams.Take(now)
	header := fmt.Sprintf("%-8s  %8s  %6s  %16s  %15s  %9s  %10s  %10s",
		"upstream", "requests", "failed", "first token mean", "first token p95", "tokens in", "tokens out", "cache read")
	fmt.Fprintf(w, "\n%s\n", paint.in(bold, header))
	for _, name := range names {
		sum, stream, u := summaryOf(attempts, name), summaryOf(streams, name), t.usage[name]
		fmt.Fprintf(w, "%-8s  %8d  %6d  %16s  %15s  %9d  %10d  %10s\n", name, sum.Requests, sum.Errors,
			formatLatency(stream.MeanFirstByte), formatLatency(stream.P95FirstByte), u.InputTokens, u.OutputTokens, percent(u.CacheReadTokens, u.InputTokens))
	}
	verdict := fmt.Sprintf("%d client requests in %s, %d of them failed.", t.requests, period.Round(100*time.Millisecond), t.failures)
	if t.failures > 0 {
		verdict = paint.in(red, verdict)
	}
	fmt.Fprintf(w, "\n%s\n%d failures of upstreams stayed hidden: %d requests were answered by another upstream.\n", verdict, t.hiddenFailures, t.savedRequests)
}

func summaryOf(all []ledger.Summary, name string) ledger.Summary {
	for _, s := range all {
		if s.Server == name {
			return s
		}
	}
	return ledger.Summary{}
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// BenchmarkAppend writes batches of 500 requests, two attempts each, into a ledger of LEDGER_ROWS
// requests (empty without it). The cost per request does not depend on the size.
func BenchmarkAppend(b *testing.B) {
	n, _ := strconv.Atoi(os.Getenv("LEDGER_ROWS"))
	s, ids := grown(b, filepath.Join(b.TempDir(), "ledger.db"), n)
	const some = 500
	first := n
	b.ReportAllocs()
	for b.Loop() {
		grow(b, s, ids, n, some)
		n += some
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n-first), "ns/request")
}

// BenchmarkWriter records requests and writes them in batches as under light and full load: a few
// client keys, models and servers, one attempt each, prompts of eight turns, responses that take up
// to 10 ms.
func BenchmarkWriter(b *testing.B) {
	for _, size := range []int{200, batchSize} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			file := filepath.Join(b.TempDir(), "ledger.db")
			w := NewWriter(func(ctx context.Context) (*Store, error) { return Open(ctx, file) }, event.NewBus(slog.New(slog.DiscardHandler)), Bounds{})
			w.Open(b.Context())
			defer func() { w.ready().Close() }()
			entries := usual(size)
			at := noon
			b.ReportAllocs()
			for b.Loop() {
				for i := range entries {
					at = at.Add(flushDelay / time.Duration(size))
					start := at.Add(-time.Duration(i*7919%97) * 100 * time.Microsecond) // not in the order of their ends
					entries[i].Start, entries[i].Attempts[0].Start = start, start
					w.Record(entries[i])
				}
				w.flush(b.Context())
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/row")
		})
	}
}

// usual returns typical requests: the first server responded.
func usual(n int) []ledger.Entry {
	prompt := &claude.Prompt{Tools: claude.Boundary{Fingerprint: 1 << 62, Bytes: 30_000}, System: claude.Boundary{Fingerprint: 1 << 63, Bytes: 45_000}}
	for i := range 8 {
		prompt.Turns = append(prompt.Turns, claude.Boundary{Fingerprint: uint64(i+1) * 0x9e3779b97f4a7c15, Bytes: 45_000 + 3000*(i+1)})
	}
	entries := make([]ledger.Entry, n)
	for i := range entries {
		e := sample(noon)
		e.ID, e.Session, e.Client = "req_lb_"+rand.Text(), "8f0c2b1e-6d4a-4f6e-9c55-"+rand.Text()[:12], fmt.Sprint("client-", i%4)
		e.Model, e.Prompt = []string{"claude-opus-4-5", "claude-sonnet-5"}[i/4%2], ledger.OutlineOf(prompt)
		e.Attempts = e.Attempts[1:]
		e.Attempts[0].Server, e.Attempts[0].RequestID, e.Attempts[0].Answer.Model = fmt.Sprint("server-", i/8%3), "req_"+rand.Text(), e.Model
		entries[i] = e
	}
	return entries
}

// BenchmarkReport queries a ledger of LEDGER_ROWS requests (100,000 without it; LEDGER_FILE keeps
// it for the next run) for its daily sums.
func BenchmarkReport(b *testing.B) {
	rows := 100_000
	if n, err := strconv.Atoi(os.Getenv("LEDGER_ROWS")); err == nil {
		rows = n
	}
	file := os.Getenv("LEDGER_FILE")
	if file == "" {
		file = filepath.Join(b.TempDir(), "ledger.db")
	}
	s, _ := grown(b, file, rows)
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("berlin", 7200)} {
		b.Run(zone.String(), func(b *testing.B) {
			for b.Loop() {
				q := Question{Since: noon.Add(-day), Until: noon.Add(400 * day), By: []Dimension{Day}, Zone: zone}
				lines, err := s.Report(b.Context(), q)
				if err != nil || len(lines) == 0 {
					b.Fatal(len(lines), err)
				}
			}
		})
	}
}

// grown opens a ledger with at least the given number of requests.
func grown(b *testing.B, file string, rows int) (*Store, *numbering) {
	b.Helper()
	s, err := Open(b.Context(), file)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	var n int
	if err := s.db.QueryRow(`SELECT COUNT(*) FROM requests`).Scan(&n); err != nil {
		b.Fatal(err)
	}
	ids := newNumbering()
	for ; n < rows; n += 5 * batchSize {
		grow(b, s, ids, n, 5*batchSize)
	}
	return s, ids
}

// grow writes count requests, beginning with request n. A million cover a month.
func grow(b *testing.B, s *Store, ids *numbering, n, count int) {
	b.Helper()
	entries := make([]ledger.Entry, count)
	for i := range entries {
		e := sample(noon.Add(time.Duration(n+i) * 2600 * time.Millisecond))
		e.Client, e.Session = fmt.Sprint("client-", (n+i)%20), fmt.Sprint("session-", (n+i)/50)
		e.Model = []string{"claude-opus-4-5", "claude-sonnet-5", "claude-haiku-5"}[(n+i)%3]
		e.Attempts[1].Server = fmt.Sprint("server-", (n+i)%4)
		entries[i] = e
	}
	if err := s.append(b.Context(), batchOf(ids, entries...)); err != nil {
		b.Fatal(err)
	}
}

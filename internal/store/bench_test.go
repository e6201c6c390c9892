package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"claude-code-lb/internal/ledger"
)

// BenchmarkAppend writes batches of 500 requests, two attempts each, into a ledger of LEDGER_ROWS requests (none without it): the
// cost per request is the same.
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

// BenchmarkReport asks a ledger of LEDGER_ROWS requests (100,000 without it; LEDGER_FILE keeps it for the next
// time) for its sums by the day.
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

// grown opens a ledger with at least so many requests.
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
	for ; n < rows; n += 5 * most {
		grow(b, s, ids, n, 5*most)
	}
	return s, ids
}

// grow writes count requests, the first of which is number n. A million fall into a month.
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

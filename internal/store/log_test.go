package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// writeMany writes n requests, one per second, with alternating clients, sessions and outcomes.
func writeMany(t *testing.T, s *Store, n int) {
	t.Helper()
	list := make([]ledger.Entry, n)
	for i := range list {
		e := sample(noon.Add(time.Duration(i) * time.Second))
		e.ID = fmt.Sprintf("req_lb_%d", i)
		e.Client, e.Session = []string{"ann", "bob"}[i%2], fmt.Sprintf("session-%d", i%10)
		if i%25 == 0 {
			e.Outcome = ledger.Failed
		}
		list[i] = e
	}
	write(t, s, list...)
}

// TestLog reads the log page by page with each filter.
func TestLog(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		const n = 100
		writeMany(t, s, n)
		f := func(filter LogFilter, want func(i int) bool) {
			t.Helper()
			var got, expected []string
			for i := n - 1; i >= 0; i-- {
				if want(i) {
					expected = append(expected, fmt.Sprintf("req_lb_%d", i))
				}
			}
			for before, pages := int64(0), 0; ; pages++ {
				page, err := s.Log(t.Context(), filter, before, 7)
				if err != nil || pages > n {
					t.Fatal(err, pages)
				}
				for _, r := range page.Rows {
					got = append(got, r.Entry.ID)
				}
				if before = page.Next; before == 0 {
					break
				}
			}
			if !slices.Equal(got, expected) {
				t.Errorf("%+v: %v, want %v", filter, got, expected)
			}
		}
		f(LogFilter{}, func(int) bool { return true })
		f(LogFilter{Client: "ann"}, func(i int) bool { return i%2 == 0 })
		f(LogFilter{Session: "session-3"}, func(i int) bool { return i%10 == 3 })
		f(LogFilter{Session: "session-3", Client: "ann"}, func(int) bool { return false })
		f(LogFilter{Failed: true}, func(i int) bool { return i%25 == 0 })
		f(LogFilter{Outcome: ledger.Failed, Client: "bob"}, func(i int) bool { return i%50 == 25 })
		f(LogFilter{Since: noon.Add(10 * time.Second), Until: noon.Add(20 * time.Second)}, func(i int) bool { return i >= 10 && i < 20 })
		f(LogFilter{Client: "' OR 1=1 --"}, func(int) bool { return false })
	})
}

// TestRequest finds one request by either id.
func TestRequest(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		writeMany(t, s, 3)
		byName, complete, err := s.RequestByName(t.Context(), "req_lb_1")
		if err != nil || !complete || byName == nil || byName.Entry.ID != "req_lb_1" {
			t.Fatalf("%+v, %v", byName, err)
		}
		if byID, err := s.Request(t.Context(), byName.ID); err != nil || byID == nil || byID.Entry.ID != "req_lb_1" {
			t.Errorf("%+v, %v", byID, err)
		}
		if none, complete, err := s.RequestByName(t.Context(), "req_lb_x"); none != nil || !complete || err != nil {
			t.Errorf("%+v, %t, %v", none, complete, err)
		}
		if none, err := s.Request(t.Context(), 1); none != nil || err != nil {
			t.Errorf("%+v, %v", none, err)
		}
	})
}

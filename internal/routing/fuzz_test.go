package routing

import (
	"errors"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// FuzzNext plays requests that begin, end in every way or are canceled at any moment against a
// table of three servers, and checks what clients rely on.
func FuzzNext(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 0, 1, 0, 9, 200, 0, 2})
	f.Add([]byte{0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 9, 60, 0, 8, 0, 0, 1, 2})
	outcomes := []verdict.Outcome{
		{}, failed, badKey, limited, {Scope: verdict.ScopeCapacity}, {Scope: verdict.ScopeAccount}, {Scope: verdict.ScopeModel}, {Scope: verdict.ScopeRequest},
	}
	f.Fuzz(func(t *testing.T, events []byte) {
		tb := table(t, config.ModeLoadBalance, config.Server{Name: "a", Weight: 1}, config.Server{Name: "b", Weight: 2}, config.Server{Name: "c", Weight: 1})
		now := t0
		var open []*upstream.Lease
		for i, e := range events {
			switch kind := int(e % 11); {
			case kind == 0:
				var lease *upstream.Lease
				lease, now = begin(t, tb, now)
				open = append(open, lease)
			case kind == 9:
				now = now.Add(time.Duration(e) * time.Second)
			case kind == 10 && len(open) > 0: // canceled: no outcome
				open[0].Release()
				open = open[1:]
			case len(open) > 0:
				last := len(open) - 1
				open[last].Settle(t.Context(), outcomes[(kind-1)%len(outcomes)], now)
				if i%5 == 0 {
					open[last].Forgive(now)
				}
				open[last].Release()
				open = open[:last]
			}
		}
		for _, lease := range open {
			lease.Release()
		}
		far := now.Add(48 * time.Hour)
		for _, e := range tb.Endpoints() {
			if v := e.View(far, upstream.Subject{}); v.Unfit != upstream.Fit || v.InFlight != 0 {
				t.Fatalf("%s after two days: %+v", e.Name(), v)
			}
		}
	})
}

// begin acquires an endpoint for a new request without patience. Only the pace of attempts may
// refuse it: a second later an endpoint takes it, regardless of earlier failures.
func begin(t *testing.T, tb *Table, now time.Time) (*upstream.Lease, time.Time) {
	lease, err := acquire(tb, &Query{}, &Tried{}, now)
	if err == nil {
		return lease, now
	}
	if none, ok := errors.AsType[*Unavailable](err); !ok || none.Mildest == upstream.Fit {
		t.Fatalf("refused with %v", err)
	}
	now = now.Add(time.Second)
	lease, err = acquire(tb, &Query{}, &Tried{}, now)
	if err != nil {
		t.Fatalf("refused a second later: %v", err)
	}
	return lease, now
}

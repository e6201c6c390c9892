package routing

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// learned records a response of one server under a name.
func learned(t *testing.T, tb *Table, server, name string) Home {
	t.Helper()
	c := NewContinuations(1)
	for _, e := range tb.Endpoints() {
		if e.Name() == server {
			c.Learn(e, name, t0)
		}
	}
	home := c.Of(name, t0)
	if home.None() || !c.Of("another", t0).None() || !c.Of(name, t0.Add(continuationTTL)).None() {
		t.Fatal("remembers the wrong names")
	}
	return home
}

func TestARequestFollowsItsAccount(t *testing.T) {
	tb := table(t, config.ModeFallback, named(t, "a", "b", "c")...)
	home := learned(t, tb, "c", "msg_1")
	for range 3 {
		if got := claimed(t, tb, &Query{Home: home}, &Tried{}, t0); got != "c" {
			t.Errorf("went to %s", got)
		}
	}
	var tried Tried
	tried.Add(tb.Endpoints()[2].ID())
	if got := claimed(t, tb, &Query{Home: home}, &tried, t0); got != "a" {
		t.Errorf("after a failure: %s", got)
	}
	if got := claimed(t, tb, &Query{Home: Home{domain: 7, server: 8}}, &Tried{}, t0); got != "a" {
		t.Errorf("of a server that is gone: %s", got)
	}
}

// TestAHomeThatIsOut checks that a request waits for its home only if that returns soon.
func TestAHomeThatIsOut(t *testing.T) {
	f := func(o verdict.Outcome, waits bool) {
		t.Helper()
		tb := table(t, config.ModeFallback, named(t, "a", "b")...)
		home := learned(t, tb, "b", "msg_1")
		e := tb.Endpoints()[1]
		lease, ok := e.Acquire(t0, upstream.Subject{})
		if !ok {
			t.Fatal("not fit")
		}
		lease.Settle(t.Context(), o, t0)
		lease.Release()
		got, err := acquire(tb, &Query{Home: home, Patience: 20 * time.Second}, &Tried{}, t0)
		if _, waited := errors.AsType[*Wait](err); waited != waits || !waits && got.Name() != "a" {
			t.Errorf("%v: %v", o, err)
		}
		if got := claimed(t, tb, &Query{Home: home}, &Tried{}, t0); got != "a" {
			t.Errorf("%v, without patience: %s", o, got)
		}
	}
	f(verdict.Outcome{Scope: verdict.ScopeCapacity, RetryAfter: time.Second}, true)
	f(verdict.Outcome{Scope: verdict.ScopeCapacity, RetryAfter: 10 * time.Second}, false)
	f(verdict.Outcome{Scope: verdict.ScopeRateLimit, RetryAfter: 10 * time.Second}, true)
	f(verdict.Outcome{Scope: verdict.ScopeEndpoint}, false)
	f(verdict.Outcome{Scope: verdict.ScopeAccount, RetryAfter: time.Second}, false)
}

func TestContinuationsAreKeptAndBounded(t *testing.T) {
	tb := table(t, config.ModeFallback, named(t, "a")...)
	c := NewContinuations(1)
	for i := range 400_000 {
		c.Learn(tb.Endpoints()[0], fmt.Sprint("msg_", i), t0)
	}
	if most := continuationBytes / entryBytes; c.Len() > most {
		t.Errorf("%d names, at most %d wanted", c.Len(), most)
	}
	var saved bytes.Buffer
	if err := c.Save(&saved, t0); err != nil {
		t.Fatal(err)
	}
	again := NewContinuations(2)
	if err := again.Load(&saved, t0); err != nil || again.Of("msg_399999", t0).None() {
		t.Errorf("not restored: %v", err)
	}
}

func BenchmarkContinuations(b *testing.B) {
	c := NewContinuations(1)
	names := make([]string, 1<<10)
	for i := range names {
		names[i] = fmt.Sprintf("msg_%024d", i)
	}
	b.ReportAllocs()
	for i := range b.N {
		c.index.replace(c.hash(names[i%len(names)]), holder{expires: t0.UnixNano() + 1}, t0)
	}
}

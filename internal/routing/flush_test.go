package routing

import (
	"fmt"
	"testing"
	"time"
)

// TestFlush checks that only the flushed session loses its home, and only once.
func TestFlush(t *testing.T) {
	tb := three(t)
	c, other := &talk{name: "flushed"}, &talk{name: "other"}
	now := t0
	turn := func(c *talk, session string, conversation uint64) string {
		t.Helper()
		now = now.Add(time.Minute)
		return ask(t, tb, &Query{Prompt: c.ask(t), Session: session, Conversation: conversation}, now)
	}
	home, otherHome := turn(c, "s", 1), turn(other, "o", 2)
	if got := turn(c, "s", 1); got != home {
		t.Fatalf("moved from %s to %s before", home, got)
	}
	tb.index.Flush("s", now)
	fresh := turn(c, "s", 1)
	if fresh == home {
		t.Errorf("still at %s: round robin would have gone on", home)
	}
	for range 3 {
		if got := turn(c, "s", 1); got != fresh {
			t.Errorf("moved again, from %s to %s", fresh, got)
		}
		if got := turn(other, "o", 2); got != otherHome {
			t.Errorf("the other session moved from %s to %s", otherHome, got)
		}
	}
}

// TestFlushReachesEveryAgent checks that each agent of a session loses its home at its next
// request.
func TestFlushReachesEveryAgent(t *testing.T) {
	x := NewIndex(1<<20, 1)
	x.Flush("s", t0)
	f := func(session string, conversation uint64, after time.Duration, want bool) {
		t.Helper()
		if got := x.flushes.due(session, conversation, t0.Add(after)); got != want {
			t.Errorf("%s %d after %s: %t", session, conversation, after, got)
		}
	}
	f("o", 1, 0, false)
	f("", 1, 0, false)
	f("s", 1, 0, true)
	f("s", 1, 0, false)
	f("s", 2, 0, true)
	f("s", 3, signerTTL, false) // all entries have expired
	x.Flush("s", t0)
	f("s", 1, 0, true)
	for i := range 2 * maxFlushes {
		x.Flush(fmt.Sprint("session ", i), t0)
	}
	if n := len(x.flushes.sessions); n > maxFlushes {
		t.Errorf("%d sessions are remembered", n)
	}
}

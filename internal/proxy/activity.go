package proxy

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// activityLasts is how long a sign of life is valid. Upstreams send pings every 10 to 30 s while a
// model thinks.
const activityLasts = time.Minute

// activity records the signs of life of an upstream before its first content.
type activity struct {
	due    time.Time // end of the endpoint's own limit for the first content; zero: no limit
	until  time.Time // end of the limit in force; zero: no limit
	last   time.Time // the last sign of life after message_start; zero: not seen
	events int       // in the latest read
	pings  int       // pings among them
}

// observe counts an event.
func (s *activity) observe(kind string) {
	s.events++
	if kind == "ping" {
		s.pings++
	}
}

// noteActivity checks the latest read for a ping or a comment. It forwards such a sign of life to
// the client, and gives more time to an upstream that has begun its message. completed reports whether
// the read completed an event or a comment.
func (a *attempt) noteActivity(completed bool) {
	s := &a.activity
	ping, comment := s.pings > 0, s.events == 0 && completed
	s.events, s.pings = 0, 0
	if !ping && !comment {
		return
	}
	a.x.keepalive.forward(ping)
	if a.message.Started {
		a.extendWait(time.Now())
	}
}

// extendWait moves the limit for the first content. An upstream that has sent message_start and
// keeps sending pings works, so the total time limit of the request does not end it. The endpoint's
// own limit stays in force while another endpoint could be tried.
func (a *attempt) extendWait(now time.Time) {
	s := &a.activity
	if s.last = now; s.until.IsZero() {
		return
	}
	grace := activityLasts
	if total := a.x.req.Settings.Total; total > 0 {
		grace = min(grace, total)
	}
	until := now.Add(grace)
	if !s.due.IsZero() && until.After(s.due) {
		if a.x.hasAlternative(now) {
			until = s.due
		}
		a.deadlineShortened = false // the endpoint got its full time
	}
	if !until.After(s.until) {
		return
	}
	s.until = until
	a.timeouts.expect(forFirst, &verdict.TimeoutError{Waiting: moreSigns, After: until.Sub(now)}) // another goroutine may be using the previous one
}

// hasAlternative reports whether another endpoint could be tried if this attempt failed now. With
// hedged attempts it returns true, because another endpoint may be tried at the same time.
func (x *exchange) hasAlternative(now time.Time) bool {
	switch {
	case x.req.Settings.Hedge:
		return true
	case len(x.entry.Attempts)+1 >= x.mostAttempts(), x.attempts.timeouts+1 >= maxTimeouts:
		return false
	}
	return x.req.Table.OtherFit(&x.query, &x.attempts.tried, now)
}

// extendTotal restarts the total time of a request at the last sign of life of its upstream, if the
// upstream showed one beyond that time and then failed before its first content. The client
// received that sign of life, so it still waits.
func (x *exchange) extendTotal(a *attempt, now time.Time) {
	if x.req.Settings.Hedge {
		return // another attempt may be reading it
	}
	if total := x.req.Settings.Total; total > 0 && !a.activity.last.IsZero() && now.Sub(x.admittedAt) >= total {
		x.admittedAt = a.activity.last
	}
}

package proxy

import (
	"time"

	"claude-code-lb/internal/upstream"
)

// signsLast is how long a sign of life speaks for an upstream. Pings come every 10 to 30 s while a model thinks.
const signsLast = time.Minute

// signs are what an attempt shows of a live upstream before its first content.
type signs struct {
	due    time.Time // the endpoint's own limit for the first content; zero: it has none
	until  time.Time // the limit that is in force; zero: there is none
	last   time.Time // of the last sign after message_start; zero: there was none
	events int       // that came in the bytes read last
	pings  int       // of them
}

// observe counts an event.
func (s *signs) observe(kind string) {
	s.events++
	if kind == "ping" {
		s.pings++
	}
}

// live takes what was read last for a sign of life, if there was a ping or a comment in it: the client learns of it, and
// an upstream that has begun its message is given more time.
func (a *answer) live(whole bool) {
	s := &a.vital
	ping, comment := s.pings > 0, s.events == 0 && whole
	s.events, s.pings = 0, 0
	if !ping && !comment {
		return
	}
	a.x.silence.pass(ping)
	if a.message.Started {
		a.prolong(time.Now())
	}
}

// prolong moves the limit for the first content: an upstream that has sent message_start and goes on sending pings
// demonstrably works, and a request is not ended then because its time in all is over. The endpoint's own limit stays
// in force while another one could be asked.
func (a *answer) prolong(now time.Time) {
	s := &a.vital
	if s.last = now; s.until.IsZero() {
		return
	}
	grace := signsLast
	if total := a.x.req.Settings.Total; total > 0 {
		grace = min(grace, total)
	}
	until := now.Add(grace)
	if !s.due.IsZero() && until.After(s.due) {
		if a.x.otherLeft(now) {
			until = s.due
		}
		a.curtailed = false // it was given what it is due
	}
	if !until.After(s.until) {
		return
	}
	s.until = until
	a.watch.expect(forFirst, &upstream.TimeoutError{Waiting: moreSigns, After: until.Sub(now)}) // the one before may be looked at just now
}

// otherLeft reports whether another endpoint could be asked if this attempt failed now. While attempts are hedged it
// reports true, for others are being asked at the same time.
func (x *exchange) otherLeft(now time.Time) bool {
	switch {
	case x.req.Settings.Hedge:
		return true
	case len(x.entry.Attempts)+1 >= x.mostAttempts(), x.timeouts+1 >= maxTimeouts:
		return false
	}
	return x.req.Table.OtherFit(&x.query, &x.tried, now)
}

// outlived gives a request whose upstream worked beyond the time for all attempts, and failed before its first content,
// that time once more, counted from the last sign of life: until then the client knew that somebody is there.
func (x *exchange) outlived(a *answer, now time.Time) {
	if x.req.Settings.Hedge {
		return // another attempt may be reading it
	}
	if total := x.req.Settings.Total; total > 0 && !a.vital.last.IsZero() && now.Sub(x.turn) >= total {
		x.turn = a.vital.last
	}
}

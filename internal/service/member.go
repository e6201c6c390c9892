package service

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/member"
)

// showMembers lets holders of client keys see their own usage on the clients' port.
func (s *service) showMembers(view *member.View) {
	if s.books != nil {
		view.Ledger = s.books.Store
	}
	view.Headroom = s.headroom
	s.Handler.Member = view
}

// headroom returns the remaining part of a server's tightest limit, and false if the server has
// reported none.
func (b *Balancer) headroom(server string, now time.Time) (float64, bool) {
	for _, e := range b.endpoints() {
		if e.Name() == server {
			r := e.Report(now)
			return r.Headroom, len(r.Remaining) > 0
		}
	}
	return 0, false
}

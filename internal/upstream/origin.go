package upstream

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// together is how close in time the refusals of several accounts are for the service itself to be overloaded.
const together = 10 * time.Second

// origin is a service: a scheme and a host, and all accounts used there. Safe
// for concurrent use; its mutex is taken after those of endpoints and accounts.
type origin struct {
	key       string
	anthropic bool // Anthropic's own host, trusted to name organizations

	mu      sync.Mutex
	refused map[*account]time.Time // the latest "overloaded" of each account
	pauses  cooldowns              // of the whole service, by class of models
}

// isAnthropic reports whether a host is one of Anthropic's own.
func isAnthropic(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "anthropic.com" || strings.HasSuffix(host, ".anthropic.com")
}

// overloaded notes that an account was refused for want of capacity. When
// another one was too a moment ago, it is the service that is overloaded: all of
// it pauses as long as the account does.
func (s *origin) overloaded(a *account, class, reason string, pause time.Duration, started, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.refused, func(_ *account, at time.Time) bool { return now.Sub(at) > together })
	s.refused[a] = now
	if len(s.refused) > 1 {
		s.pauses.refused(class, started, now, reason, func(int) time.Duration { return pause })
	}
}

func (s *origin) served(a *account, class string, started, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.refused, a)
	s.pauses.served(class, started, now)
}

// pause returns the rest of a class of models, and of any class for "".
func (s *origin) pause(class string) cooldown {
	s.mu.Lock()
	defer s.mu.Unlock()
	if class == "" {
		return s.pauses.longest()
	}
	return s.pauses[class]
}

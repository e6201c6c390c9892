package upstream

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// overloadWindow is the time within which two accounts must report an overload for the whole origin
// to count as overloaded.
const overloadWindow = 10 * time.Second

// origin is the state of a scheme and host with all its accounts. Safe for concurrent use; its
// mutex is locked after those of endpoints and accounts.
type origin struct {
	key       string
	anthropic bool // one of Anthropic's own hosts, whose organization ids are trusted

	mu           sync.Mutex
	overloadedAt map[*account]time.Time // when each account last reported an overload
	pauses       cooldowns              // of the whole origin, by class of models
}

// isAnthropic reports whether a host is one of Anthropic's own.
func isAnthropic(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "anthropic.com" || strings.HasSuffix(host, ".anthropic.com")
}

// recordOverload records that an account was refused for lack of capacity. If another account was
// refused within overloadWindow, the origin itself is overloaded, and pauses as long as the
// account.
func (o *origin) recordOverload(a *account, class, reason string, pause time.Duration, started, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.overloadedAt, func(_ *account, at time.Time) bool { return now.Sub(at) > overloadWindow })
	o.overloadedAt[a] = now
	if len(o.overloadedAt) > 1 {
		o.pauses.recordRefusal(class, started, now, reason, func(int) time.Duration { return pause })
	}
}

func (o *origin) recordSuccess(a *account, class string, started, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.overloadedAt, a)
	o.pauses.recordSuccess(class, started, now)
}

// cooldownOf returns the cooldown of a class of models, or the longest one for "".
func (o *origin) cooldownOf(class string) cooldown {
	o.mu.Lock()
	defer o.mu.Unlock()
	if class == "" {
		return o.pauses.longest()
	}
	return o.pauses[class]
}

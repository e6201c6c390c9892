package observe

import (
	"context"
	"maps"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

const (
	// cacheWindow is the period, in minutes, that is compared with the usual rate.
	cacheWindow = 15
	// A comparison needs minRecent responses in the window and minUsual before it. With fewer, a
	// difference may be chance.
	minRecent, minUsual = 30, 200
	// usualResponses is the number of responses, before the window, that make up the usual rate,
	// regardless of their age.
	usualResponses = 2000
	// minUsualRate is the usual rate below which a collapse does not matter.
	minUsualRate = 0.3
	// The rate has collapsed below collapseRatio times the usual rate, and recovered above
	// recoveryRatio times.
	collapseRatio, recoveryRatio = 0.5, 0.75
	// minCachedTokens is the smallest prompt that a model caches, in tokens (prompt-caching docs).
	minCachedTokens = 1024
	maxServers      = 1000 // because reloads may add new servers without end
	// A conversation that paused for longer than caches last is not expected in the cache.
	conversationPause = 5 * time.Minute
	maxConversations  = 20_000
)

// allServers is the name for all servers together.
const allServers = "all servers"

// CacheWatch publishes CacheRateChanged when the part of prompts that is read from the cache falls
// far below the usual rate, for one server or for all together, and when that ends. Every response
// in a continuing conversation counts equally, so that one large prompt does not decide. It
// implements proxy.Recorder.
type CacheWatch struct {
	bus *event.Bus

	mu           sync.Mutex
	trends       map[string]*cacheTrend     // by server
	lastResponse map[conversation]time.Time // time of the last response
}

// conversation is the conversation of one agent with one model.
type conversation struct{ session, agent, model string }

// NewCacheWatch returns an empty CacheWatch.
func NewCacheWatch(bus *event.Bus) *CacheWatch {
	return &CacheWatch{bus: bus, trends: map[string]*cacheTrend{}, lastResponse: map[conversation]time.Time{}}
}

// Record implements proxy.Recorder.
func (w *CacheWatch) Record(e ledger.Entry) {
	a := e.Final()
	if a == nil || !a.Served || !a.Known() {
		return
	}
	prompt := a.Answer.Usage.TotalInputTokens()
	if prompt < minCachedTokens {
		return
	}
	rate, now := float64(a.Answer.Usage.CacheReadTokens)/float64(prompt), e.Start.Add(e.Duration)
	if e.Session != "" && !w.continues(conversation{e.Session, e.Agent, e.Model}, e.Start, now) {
		return
	}
	for _, server := range [...]string{a.Server, allServers} {
		if change, recent, usual := w.add(server, rate, now); change != unchanged {
			w.bus.Publish(context.Background(), event.CacheRateChanged{Server: server, Recent: percent(recent), Usual: percent(usual), Recovered: change == recovered})
		}
	}
}

// continues reports whether a conversation had a response shortly before a request that began at
// start and ends now.
func (w *CacheWatch) continues(c conversation, start, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.lastResponse[c]
	if !known && len(w.lastResponse) >= maxConversations {
		maps.DeleteFunc(w.lastResponse, func(_ conversation, last time.Time) bool { return now.Sub(last) > conversationPause })
		if len(w.lastResponse) >= maxConversations {
			clear(w.lastResponse)
		}
	}
	w.lastResponse[c] = now
	return known && start.Sub(last) <= conversationPause
}

// change is the change of a trend by one response.
type change int

const (
	unchanged change = iota
	collapsed
	recovered
)

// add counts a response and returns the change, with the rates in the window and before.
func (w *CacheWatch) add(server string, rate float64, now time.Time) (c change, recent, usual float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.trends[server]
	if t == nil {
		if len(w.trends) >= maxServers {
			maps.DeleteFunc(w.trends, func(name string, _ *cacheTrend) bool { return name != allServers })
		}
		t = &cacheTrend{}
		w.trends[server] = t
	}
	t.add(rate, now)
	return t.judge(), t.recent().mean(), t.usual.mean()
}

// percent formats a rate as a percentage.
func percent(rate float64) string { return strconv.Itoa(int(math.Round(rate*100))) + "%" }

// rates is a number of responses, and the sum of their cached parts.
type rates struct {
	count, sum float64
}

func (r rates) mean() float64 {
	if r.count == 0 {
		return 0
	}
	return r.sum / r.count
}

func (r *rates) add(other rates) {
	r.count += other.count
	r.sum += other.sum
}

// cacheTrend is the hit rate of the window, by minute, and the rate before it. The zero value is
// empty.
type cacheTrend struct {
	minutes [cacheWindow]struct {
		minute int64 // since 1970
		rates
	}
	usual     rates // responses from before the window
	collapsed bool
}

// add counts a response that ends now.
func (t *cacheTrend) add(rate float64, now time.Time) {
	minute := now.Unix() / 60
	for i := range t.minutes {
		if m := &t.minutes[i]; m.count > 0 && minute-m.minute >= cacheWindow {
			t.updateUsual(m.rates)
			m.rates = rates{}
		}
	}
	slot := &t.minutes[minute%cacheWindow]
	if slot.count > 0 && slot.minute > minute {
		return // it ended before the window
	}
	slot.minute = minute
	slot.add(rates{1, rate})
}

// updateUsual adds rates that have left the window to the usual rate. Older responses have less
// weight.
func (t *cacheTrend) updateUsual(r rates) {
	t.usual.add(r)
	if excess := t.usual.count / usualResponses; excess > 1 {
		t.usual.count /= excess
		t.usual.sum /= excess
	}
}

func (t *cacheTrend) recent() rates {
	var sum rates
	for i := range t.minutes {
		sum.add(t.minutes[i].rates)
	}
	return sum
}

// judge returns the change of the state. Between the two bounds, and with few responses, nothing
// changes.
func (t *cacheTrend) judge() change {
	recent, usual := t.recent(), t.usual
	if recent.count < minRecent || usual.count < minUsual {
		return unchanged
	}
	switch {
	case !t.collapsed && usual.mean() >= minUsualRate && recent.mean() < collapseRatio*usual.mean():
		t.collapsed = true
		return collapsed
	case t.collapsed && recent.mean() >= recoveryRatio*usual.mean():
		t.collapsed = false
		return recovered
	default:
		return unchanged
	}
}

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
	// cacheWindow is what is compared with what is usual. It is counted by the minute.
	cacheWindow = 15
	// A verdict needs this many answers in the window, and this many before it. With less it would be chance.
	cacheMinimum, cacheUsual = 30, 200
	// cacheMemory is how many answers make up what is usual: the last ones before the window, however long ago.
	cacheMemory = 2000
	// cacheWorth is the usual rate below which nobody counts on the cache.
	cacheWorth = 0.3
	// The rate has collapsed below the first of these parts of what is usual, and recovered above the second.
	cacheLost, cacheRegained = 0.5, 0.75
	// smallestCached is the prompt below which no model caches (prompt-caching docs).
	smallestCached = 1024
	maxWatched     = 1000 // servers; reloads may bring ever new ones
	// A conversation that was silent for longer than caches last is renewed, and is right not to find itself there.
	conversationPause = 5 * time.Minute
	maxConversations  = 20_000
)

// everywhere stands for all servers together.
const everywhere = "all servers"

// CacheWatch publishes CacheRateChanged when much less of the prompts is read from the prompt cache than usual, for a
// server and for all together, and when that ends. Every response in a continuing conversation counts equally, so that
// one large prompt does not decide. It is a proxy.Recorder.
type CacheWatch struct {
	bus *event.Bus

	mu     sync.Mutex
	trends map[string]*cacheTrend     // by server
	spoke  map[conversation]time.Time // when it was answered last
}

// conversation is one agent's with one model.
type conversation struct{ session, agent, model string }

// NewCacheWatch makes a CacheWatch that has seen nothing.
func NewCacheWatch(bus *event.Bus) *CacheWatch {
	return &CacheWatch{bus: bus, trends: map[string]*cacheTrend{}, spoke: map[conversation]time.Time{}}
}

// Record implements proxy.Recorder.
func (w *CacheWatch) Record(e ledger.Entry) {
	a := e.Final()
	if a == nil || !a.Served || !a.Known() {
		return
	}
	prompt := a.Answer.Usage.TotalInputTokens()
	if prompt < smallestCached {
		return
	}
	rate, now := float64(a.Answer.Usage.CacheReadTokens)/float64(prompt), e.Start.Add(e.Duration)
	if e.Session != "" && !w.goesOn(conversation{e.Session, e.Agent, e.Model}, e.Start, now) {
		return
	}
	for _, server := range [...]string{a.Server, everywhere} {
		if change, recent, usual := w.add(server, rate, now); change != unchanged {
			w.bus.Publish(context.Background(), event.CacheRateChanged{Server: server, Recent: percent(recent), Usual: percent(usual), Recovered: change == recovered})
		}
	}
}

// goesOn says whether a conversation was answered not long before a request that began at start and ends now.
func (w *CacheWatch) goesOn(c conversation, start, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.spoke[c]
	if !known && len(w.spoke) >= maxConversations {
		maps.DeleteFunc(w.spoke, func(_ conversation, last time.Time) bool { return now.Sub(last) > conversationPause })
		if len(w.spoke) >= maxConversations {
			clear(w.spoke)
		}
	}
	w.spoke[c] = now
	return known && start.Sub(last) <= conversationPause
}

// change is what a response has changed in a trend.
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
		if len(w.trends) >= maxWatched {
			maps.DeleteFunc(w.trends, func(name string, _ *cacheTrend) bool { return name != everywhere })
		}
		t = &cacheTrend{}
		w.trends[server] = t
	}
	t.add(rate, now)
	return t.judge(), t.recent().mean(), t.usual.mean()
}

// percent shows a rate as people say it.
func percent(rate float64) string { return strconv.Itoa(int(math.Round(rate*100))) + "%" }

// rates are some answers: how many, and the sum of the parts of their prompts that were read from the cache.
type rates struct {
	answers, sum float64
}

func (r rates) mean() float64 {
	if r.answers == 0 {
		return 0
	}
	return r.sum / r.answers
}

func (r *rates) plus(other rates) {
	r.answers += other.answers
	r.sum += other.sum
}

// cacheTrend is the hit rate of late, minute by minute, and what it was before. The zero value is empty.
type cacheTrend struct {
	minutes [cacheWindow]struct {
		minute int64 // since 1970
		rates
	}
	usual     rates // of what has left the window
	collapsed bool
}

// add counts an answer that ended now.
func (t *cacheTrend) add(rate float64, now time.Time) {
	minute := now.Unix() / 60
	for i := range t.minutes {
		if m := &t.minutes[i]; m.answers > 0 && minute-m.minute >= cacheWindow {
			t.learn(m.rates)
			m.rates = rates{}
		}
	}
	slot := &t.minutes[minute%cacheWindow]
	if slot.answers > 0 && slot.minute > minute {
		return // it ended before what is in the window began
	}
	slot.minute = minute
	slot.plus(rates{1, rate})
}

// learn takes what has left the window for usual. What was long ago counts less and less.
func (t *cacheTrend) learn(r rates) {
	t.usual.plus(r)
	if excess := t.usual.answers / cacheMemory; excess > 1 {
		t.usual.answers /= excess
		t.usual.sum /= excess
	}
}

func (t *cacheTrend) recent() rates {
	var sum rates
	for i := range t.minutes {
		sum.plus(t.minutes[i].rates)
	}
	return sum
}

// judge returns the change of the state. Between the two bounds, and with few responses, nothing changes.
func (t *cacheTrend) judge() change {
	recent, usual := t.recent(), t.usual
	if recent.answers < cacheMinimum || usual.answers < cacheUsual {
		return unchanged
	}
	switch {
	case !t.collapsed && usual.mean() >= cacheWorth && recent.mean() < cacheLost*usual.mean():
		t.collapsed = true
		return collapsed
	case t.collapsed && recent.mean() >= cacheRegained*usual.mean():
		t.collapsed = false
		return recovered
	default:
		return unchanged
	}
}

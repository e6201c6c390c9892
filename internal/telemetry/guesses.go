package telemetry

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

const (
	// guessPeriod is the minimum interval of log lines about one address.
	guessPeriod = time.Minute
	// guessMemory is the time without a wrong key after which an address starts again.
	guessMemory = 15 * time.Minute
	// freeGuesses is the number of refusals without delay, because a user may have mistyped a key.
	freeGuesses = 5
	// The delay doubles with each wrong key, from firstDelay up to longestDelay.
	firstDelay, longestDelay = 250 * time.Millisecond, 8 * time.Second
	// maxDelayedPerNetwork and maxDelayed bound the refusals that are delayed at the same time.
	maxDelayedPerNetwork, maxDelayed = 4, 256
	// maxGuessers bounds each of the two generations of remembered networks.
	maxGuessers = 4096
	// maxGuessLines bounds the log lines of one period.
	maxGuessLines = 200
)

// Guesses slows down clients that guess keys. It logs their addresses: one line per address and
// period, with a count. An IPv6 address counts as its /64. Memory is bounded for any number of
// addresses. Set the fields before the first use. Safe for concurrent use.
type Guesses struct {
	Log     *slog.Logger
	Message string // the message of the log lines

	mu      sync.Mutex
	total   int64
	delayed int
	recent  map[netip.Prefix]*guesser
	older   map[netip.Prefix]*guesser
	lines   int       // log lines in the period that began at began
	began   time.Time // zero before the first period
	others  int       // wrong keys of addresses without a log line
	armed   bool      // a timer will end the period
}

// guesser is the state of one network.
type guesser struct {
	address  netip.Addr // the latest address
	wrong    int
	last     time.Time
	logged   time.Time
	unlogged int // wrong keys that are not logged yet
	delayed  int
}

// Wrong counts a wrong key of an address and delays the caller. The delay grows with each wrong key
// of that network. If too many callers are delayed already, Wrong returns false at once, with the
// delay as wait. Callers with valid keys do not call Wrong, so they are never delayed.
func (g *Guesses) Wrong(ctx context.Context, address netip.Addr) (wait time.Duration, ok bool) {
	known, wait, ok := g.count(address, time.Now())
	if wait == 0 || !ok {
		return wait, ok
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delayed--
	known.delayed--
	return 0, true
}

// Total returns the number of wrong keys so far.
func (g *Guesses) Total() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

func (g *Guesses) count(address netip.Addr, now time.Time) (known *guesser, wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total++
	known = g.findLocked(groupOf(address))
	if now.Sub(known.last) > guessMemory {
		known.wrong = 0
	}
	known.address, known.last = address, now
	known.wrong++
	known.unlogged++
	g.reportLocked(known, now)
	if known.wrong <= freeGuesses {
		return known, 0, true
	}
	wait = min(firstDelay<<min(known.wrong-freeGuesses-1, 10), longestDelay)
	if g.delayed >= maxDelayed || known.delayed >= maxDelayedPerNetwork {
		return known, wait, false
	}
	g.delayed++
	known.delayed++
	return known, wait, true
}

// groupOf returns the network from which one client can choose its addresses.
func groupOf(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	network, _ := address.WithZone("").Prefix(bits)
	return network
}

// findLocked returns the state of a network. If there are too many networks, it drops those that were not
// used recently.
func (g *Guesses) findLocked(network netip.Prefix) *guesser {
	if known := g.recent[network]; known != nil {
		return known
	}
	known := g.older[network]
	delete(g.older, network)
	if known == nil {
		known = &guesser{}
	}
	if len(g.recent) >= maxGuessers || g.recent == nil {
		for _, forgotten := range g.older {
			g.others += forgotten.unlogged
		}
		g.older, g.recent = g.recent, make(map[netip.Prefix]*guesser)
	}
	g.recent[network] = known
	return known
}

// reportLocked logs an address now or at the end of the period.
func (g *Guesses) reportLocked(known *guesser, now time.Time) {
	if now.Sub(g.began) >= guessPeriod {
		g.began, g.lines = now, 0
	}
	if now.Sub(known.logged) >= guessPeriod && g.lines < maxGuessLines {
		g.writeLocked(known, now)
		return
	}
	if !g.armed {
		g.armed = true
		time.AfterFunc(guessPeriod, g.flush)
	}
}

func (g *Guesses) writeLocked(known *guesser, now time.Time) {
	g.lines++
	g.Log.Warn(g.Message, Address, known.address.WithZone("").String(), Count, known.unlogged)
	known.logged, known.unlogged = now, 0
}

// flush logs the wrong keys that were counted since the last lines.
func (g *Guesses) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.armed, g.began, g.lines = false, now, 0
	addresses := 0
	for _, generation := range [...]map[netip.Prefix]*guesser{g.recent, g.older} {
		for _, known := range generation {
			switch {
			case known.unlogged == 0:
			case g.lines < maxGuessLines:
				g.writeLocked(known, now)
			default:
				addresses++
				g.others += known.unlogged
				known.unlogged = 0
			}
		}
	}
	if g.others > 0 {
		g.Log.Warn(FurtherGuesses, Count, g.others, Addresses, addresses)
		g.others = 0
	}
}

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
	// guessMemory is after how long without a wrong key an address starts again.
	guessMemory = 15 * time.Minute
	// freeGuesses are refused without a delay, because a user may have mistyped a key.
	freeGuesses = 5
	// The delay doubles from the first of these to the second.
	firstDelay, longestDelay = 250 * time.Millisecond, 8 * time.Second
	// At most this many refusals are delayed at a time, for one address and in total.
	delayedOfOne, delayedOfAll = 4, 256
	// guessers bounds the addresses that are remembered: twice as many.
	guessers = 4096
	// guessLines bounds the lines of one period.
	guessLines = 200
)

// Guesses slows down clients that guess keys, and logs their addresses: one line for each address
// and period, with a count. An IPv6 address counts as its /64. Memory is bounded, whatever the
// number of addresses. Its fields are set before the first use. Safe for concurrent use.
type Guesses struct {
	Log     *slog.Logger
	Message string // of the log lines

	mu      sync.Mutex
	total   int64
	delayed int
	recent  map[netip.Prefix]*guesser
	older   map[netip.Prefix]*guesser
	lines   int       // in the period that began at
	began   time.Time // zero: none has
	others  int       // wrong keys of addresses without a line
	armed   bool      // a timer ends the period
}

// guesser is the state of one address.
type guesser struct {
	address netip.Addr // the latest
	wrong   int
	last    time.Time
	logged  time.Time
	pending int // wrong keys that are not in the log yet
	delayed int
}

// Wrong counts a wrong key of an address, and delays the caller. The delay grows with each wrong
// key of the address. If too many callers are delayed already, it returns false at once, with the
// delay. It is not called for valid keys, so those are never delayed.
func (g *Guesses) Wrong(ctx context.Context, address netip.Addr) (wait time.Duration, ok bool) {
	known, wait, ok := g.note(address, time.Now())
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

// Total is the number of wrong keys so far.
func (g *Guesses) Total() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

func (g *Guesses) note(address netip.Addr, now time.Time) (known *guesser, wait time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total++
	known = g.find(groupOf(address))
	if now.Sub(known.last) > guessMemory {
		known.wrong = 0
	}
	known.address, known.last = address, now
	known.wrong++
	known.pending++
	g.report(known, now)
	if known.wrong <= freeGuesses {
		return known, 0, true
	}
	wait = min(firstDelay<<min(known.wrong-freeGuesses-1, 10), longestDelay)
	if g.delayed >= delayedOfAll || known.delayed >= delayedOfOne {
		return known, wait, false
	}
	g.delayed++
	known.delayed++
	return known, wait, true
}

// groupOf is the network that one client can choose its addresses from.
func groupOf(address netip.Addr) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	network, _ := address.WithZone("").Prefix(bits)
	return network
}

// find returns the state of a network. When there are too many networks, those not used recently
// are dropped.
func (g *Guesses) find(network netip.Prefix) *guesser {
	if known := g.recent[network]; known != nil {
		return known
	}
	known := g.older[network]
	delete(g.older, network)
	if known == nil {
		known = &guesser{}
	}
	if len(g.recent) >= guessers || g.recent == nil {
		for _, forgotten := range g.older {
			g.others += forgotten.pending
		}
		g.older, g.recent = g.recent, make(map[netip.Prefix]*guesser)
	}
	g.recent[network] = known
	return known
}

// report logs an address now, or at the end of the period.
func (g *Guesses) report(known *guesser, now time.Time) {
	if now.Sub(g.began) >= guessPeriod {
		g.began, g.lines = now, 0
	}
	if now.Sub(known.logged) >= guessPeriod && g.lines < guessLines {
		g.write(known, now)
		return
	}
	if !g.armed {
		g.armed = true
		time.AfterFunc(guessPeriod, g.flush)
	}
}

func (g *Guesses) write(known *guesser, now time.Time) {
	g.lines++
	g.Log.Warn(g.Message, Address, known.address.WithZone("").String(), Count, known.pending)
	known.logged, known.pending = now, 0
}

// flush logs the wrong keys since the last lines.
func (g *Guesses) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.armed, g.began, g.lines = false, now, 0
	addresses := 0
	for _, generation := range [...]map[netip.Prefix]*guesser{g.recent, g.older} {
		for _, known := range generation {
			switch {
			case known.pending == 0:
			case g.lines < guessLines:
				g.write(known, now)
			default:
				addresses++
				g.others += known.pending
				known.pending = 0
			}
		}
	}
	if g.others > 0 {
		g.Log.Warn(FurtherGuesses, Count, g.others, Addresses, addresses)
		g.others = 0
	}
}

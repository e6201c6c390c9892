package telemetry

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

const (
	// guessPeriod is how often one address stands in the log.
	guessPeriod = time.Minute
	// guessMemory is after how long without a wrong key an address starts again.
	guessMemory = 15 * time.Minute
	// freeGuesses are answered at once: somebody has mistyped a key.
	freeGuesses = 5
	// The delay doubles from the first of these to the second.
	firstDelay, longestDelay = 250 * time.Millisecond, 8 * time.Second
	// At most so many answers are delayed at a time, of one address and of all.
	delayedOfOne, delayedOfAll = 4, 256
	// guessers bounds the addresses that are remembered: twice as many.
	guessers = 4096
	// guessLines bounds the lines of one period.
	guessLines = 200
)

// Guesses slows down those who try keys, and logs their addresses: one line for each address and period, with a count. An IPv6 address stands for
// its /64. Memory is bounded, whatever the number of addresses. Its fields are set before the first use. Safe for concurrent use.
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

// guesser is what is known of an address.
type guesser struct {
	address netip.Addr // the latest
	wrong   int
	last    time.Time
	logged  time.Time
	pending int // wrong keys that are not in the log yet
	delayed int
}

// Wrong counts a wrong key of an address, and delays the caller for as long as the address has deserved. It reports false, with that time, when too
// many callers are being delayed already. An address whose keys are right is never delayed, since nothing is asked for them.
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

// Total is how many wrong keys were shown.
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

// find finds what is known of a network. When there is too much of it, what was not asked for recently is forgotten.
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

// report logs an address, or has the end of the period do so.
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

// flush logs what came since the last lines.
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

package routing

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// crowd is a table with many live conversations, and requests of some of them.
type crowd struct {
	*Table
	prompts []*claude.Prompt // conversations with a home, each with two new turns
	fresh   *claude.Prompt   // a new conversation: every account has its beginning cached
	random  *rand.Rand
	room    upstream.Lease
	tried   Tried
	asked   int
}

// newCrowd makes conversations of 40 turns, 100 thousand tokens each, spread over the accounts.
func newCrowd(t testing.TB, algorithm config.Algorithm, upstreams, conversations int) *crowd {
	t.Helper()
	var servers []config.Server
	for i := range upstreams {
		servers = append(servers, config.Server{Name: fmt.Sprint("s", i), Weight: 1, PriceMultiplier: 1})
	}
	c := &crowd{Table: tableBy(t, config.ModeLoadBalance, algorithm, servers...)}
	c.index = NewIndex(64<<20, 1)
	expires, endpoints := t0.Add(longTTL).UnixNano(), c.Endpoints()
	tools, system := claude.Boundary{Fingerprint: 1, Bytes: 50_000}, claude.Boundary{Fingerprint: 2, Bytes: 60_000}
	for _, e := range endpoints {
		e.RecordLatency(time.Second, 0, t0)
		for _, b := range [...]claude.Boundary{tools, system} {
			c.index.put(b.Fingerprint, holder{domain: e.CacheScope(), expires: expires, tokens: uint32(b.Bytes / 4)}, t0)
		}
	}
	c.random = rand.New(rand.NewPCG(1, uint64(conversations)))
	c.fresh = &claude.Prompt{HasBreakpoint: true, Turns: []claude.Boundary{{Bytes: 70_000}}, Tools: tools, System: system}
	for i := range conversations {
		home := endpoints[i%upstreams]
		h := holder{domain: home.CacheScope(), server: serverOf(home), expires: expires, tokens: 100_000}
		at := c.random.Uint64()
		c.index.put(at, h, t0)
		c.index.put((&Query{Conversation: conversation(i)}).conversation(), h, t0)
		if i >= 1000 {
			continue
		}
		turns := make([]claude.Boundary, 40)
		for n := range turns {
			turns[n] = claude.Boundary{Fingerprint: c.random.Uint64(), Bytes: 400_000 + 1000*n}
		}
		turns[37].Fingerprint = at
		c.prompts = append(c.prompts, &claude.Prompt{HasBreakpoint: true, Turns: turns, Tools: tools, System: system})
	}
	return c
}

func conversation(i int) uint64 { return uint64(i) + 1 }

// next makes one choice and ends it: for a conversation with a home, or for a new one.
func (c *crowd) next(t testing.TB, fresh bool) {
	i := c.asked % len(c.prompts)
	c.asked++
	q := Query{Prompt: c.prompts[i], Conversation: conversation(i), LeaseBuf: &c.room}
	if fresh {
		c.fresh.Turns[0].Fingerprint = c.random.Uint64()
		q.Prompt, q.Conversation = c.fresh, 0
	}
	lease, err := acquire(c.Table, &q, &c.tried, t0)
	if err != nil {
		t.Fatal(err)
	}
	lease.Settle(t.Context(), verdict.Outcome{}, t0)
	lease.Release()
}

func algorithms() []config.Algorithm {
	return []config.Algorithm{config.CostAware, config.RoundRobin, config.WeightedRoundRobin, config.Random, config.LeastInFlight, config.PowerOfTwo}
}

// BenchmarkNext measures one choice by the number of upstreams and of live conversations: for a
// conversation with a home and two new turns, and for a new one.
func BenchmarkNext(b *testing.B) {
	run := func(algorithm config.Algorithm, upstreams, conversations int) {
		c := newCrowd(b, algorithm, upstreams, conversations)
		for kind, fresh := range map[string]bool{"warm": false, "cold": true} {
			b.Run(fmt.Sprintf("%s/upstreams=%d/conversations=%d/%s", algorithm, upstreams, conversations, kind), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					c.next(b, fresh)
				}
			})
		}
	}
	for _, upstreams := range []int{1, 10, 100} {
		run(config.CostAware, upstreams, 1000)
	}
	for _, conversations := range []int{10, 10_000, 100_000} {
		run(config.CostAware, 10, conversations)
	}
	for _, algorithm := range algorithms()[1:] {
		run(algorithm, 10, 1000)
		run(algorithm, 100, 1000)
	}
}

// TestADecisionAllocatesNothing checks that a choice needs no allocation, for any number of
// upstreams and conversations.
func TestADecisionAllocatesNothing(t *testing.T) {
	const most, runs = 0, 200
	f := func(algorithm config.Algorithm, upstreams, conversations int) {
		t.Helper()
		c := newCrowd(t, algorithm, upstreams, conversations)
		search := &placement{}
		c.searches.New = func() any { return search } // under the race detector a pool drops some values
		for _, fresh := range []bool{false, true} {
			for range 2 * runs { // the memory grows to its final size
				c.next(t, fresh)
			}
			if n := testing.AllocsPerRun(runs, func() { c.next(t, fresh) }); n > most {
				t.Errorf("%s, %d upstreams, %d conversations, new: %t: %v allocations", algorithm, upstreams, conversations, fresh, n)
			}
		}
	}
	for _, algorithm := range algorithms() {
		f(algorithm, 10, 1000)
	}
	f(config.CostAware, 1, 10)
	f(config.RoundRobin, 100, 10)
	f(config.CostAware, 100, 10_000)
}

// TestMemoryOfAConversation checks that memory per conversation is constant, and what the index
// assumes.
func TestMemoryOfAConversation(t *testing.T) {
	per := func(conversations int) float64 {
		const all = 100_000
		random := rand.New(rand.NewPCG(1, 2))
		indexes := make([]*Index, all/conversations) // several indexes, because the measured heap is not exact to the byte
		before := heap()
		for i := range indexes {
			x := NewIndex(64<<20, 1)
			indexes[i] = x
			for range conversations {
				for range 2 { // one prefix of the prompt, and the conversation itself
					x.put(random.Uint64(), holder{domain: 1, expires: t0.Add(longTTL).UnixNano(), tokens: 1000}, t0)
				}
			}
		}
		grown := float64(heap()) - float64(before)
		runtime.KeepAlive(indexes)
		return grown / all
	}
	few, many := per(1000), per(100_000)
	t.Logf("%.0f bytes per conversation of 1,000, %.0f of 100,000", few, many)
	if many > 2*few { // a map that has just grown is half empty
		t.Errorf("%.0f bytes per conversation of 1,000, %.0f of 100,000", few, many)
	}
	if bound := 2.0 * entryBytes * 2; many > bound {
		t.Errorf("%.0f bytes per conversation, which has two prefixes: the index assumes %d for one", many, entryBytes)
	}
}

// heap returns the bytes in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAFullIndexIsSweptSeldom checks that a full index is not swept for every new entry, because a
// sweep takes long.
func TestAFullIndexIsSweptSeldom(t *testing.T) {
	const most, puts = 1000, 100_000
	random := rand.New(rand.NewPCG(1, 2))
	x := NewIndex(most*shards*entryBytes, 1)
	s, sweeps := &x.shards[0], 0
	for range puts {
		before := len(s.entries)
		x.put(random.Uint64()*shards, holder{domain: 1, expires: t0.Add(longTTL).UnixNano()}, t0)
		if len(s.entries) > most {
			t.Fatalf("%d entries where %d may be", len(s.entries), most)
		}
		if len(s.entries) <= before {
			sweeps++
		}
	}
	if bound := puts / (most / 10); sweeps == 0 || sweeps > bound {
		t.Errorf("swept %d times for %d entries, want at most %d", sweeps, puts, bound)
	}
}

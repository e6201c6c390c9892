package replay

import (
	"container/heap"
	"testing"
	"time"
)

// naive recomputes what a trace reads from the caches of accounts in turn: block by block, with one
// map per account, without the engine's code.
func naive(lines []naiveRequest, accounts int) (read, input int64) {
	type prefix struct {
		model string
		hash  uint64
		depth int
	}
	type state struct{ readable, expires time.Duration }
	caches := make([]map[prefix]state, accounts)
	for i := range caches {
		caches[i] = map[prefix]state{}
	}
	followers := map[[2]int][]int{}
	for i, r := range lines {
		key := [2]int{r.session, r.agent}
		followers[key] = append(followers[key], i)
	}
	var queue events
	serial, turn, now := 0, 0, time.Duration(0)
	at := func(when time.Duration, do func()) {
		serial++
		heap.Push(&queue, occurrence{when, serial, do})
	}
	var send func(key [2]int)
	send = func(key [2]int) {
		i := followers[key][0]
		followers[key] = followers[key][1:]
		r, cache, sent := lines[i], caches[turn%accounts], now
		turn++
		prefixes := make([]prefix, len(r.blocks))
		h := uint64(0)
		for n, id := range r.blocks {
			h = hash(h^uint64(id), 99)
			prefixes[n] = prefix{r.model, h, n}
		}
		hits := 0
		for _, p := range prefixes {
			s, ok := cache[p]
			if !ok || s.readable > now || s.expires <= now {
				break
			}
			cache[p] = state{s.readable, max(s.expires, now+ttl)}
			hits++
		}
		read += int64(hits) * 64
		input += r.input
		at(now+firstTokenAfter+time.Duration(r.input-int64(hits)*64)*perUncachedToken, func() {
			for _, p := range prefixes {
				s, ok := cache[p]
				if !ok || s.expires <= sent {
					s = state{now, sent + ttl}
				}
				cache[p] = state{min(s.readable, now), max(s.expires, sent+ttl)}
			}
			at(now+time.Duration(r.output)*perOutputToken, func() {
				if next := followers[key]; len(next) > 0 {
					at(max(sent+lines[next[0]].at-r.at, now), func() { send(key) })
				}
			})
		})
	}
	started := map[[2]int]bool{}
	for _, r := range lines {
		if key := [2]int{r.session, r.agent}; !started[key] {
			started[key] = true
			at(r.at, func() { send(key) })
		}
	}
	for queue.Len() > 0 {
		next := heap.Pop(&queue).(occurrence)
		now = next.at
		next.do()
	}
	return read, input
}

type naiveRequest struct {
	at             time.Duration
	session, agent int
	model          string
	input, output  int64
	blocks         []int64
}

// TestHitRateMatchesNaiveCount compares the engine with naive on the first hours of a real day.
func TestHitRateMatchesNaiveCount(t *testing.T) {
	const until = 40 * time.Minute
	lines, trace := readBeginning(t, until)
	for _, accounts := range []int{1, 2} {
		read, input := naive(lines, accounts)
		got, err := Run(t.Context(), trace, Options{Policy: "round_robin", Accounts: accounts})
		if err != nil {
			t.Fatal(err)
		}
		if want := float64(read) / float64(input); got.HitRate != want {
			t.Errorf("%d accounts: %.6f of the input is read from the cache, the naive count is %.6f", accounts, got.HitRate, want)
		}
	}
}

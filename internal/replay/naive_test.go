package replay

import (
	"container/heap"
	"testing"
	"time"
)

// naive recomputes what a trace reads from the caches of accounts in turn: block by block, with one
// map per account, without the engine's code.
func naive(lines []naiveRequest, accounts int) (read, input int64) {
	caches := make([]naiveCache, accounts)
	for i := range caches {
		caches[i] = naiveCache{}
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
		prefixes := r.prefixes()
		hits := cache.hits(prefixes, now)
		read += int64(hits) * 64
		input += r.input
		at(now+firstTokenAfter+time.Duration(r.input-int64(hits)*64)*perUncachedToken, func() {
			cache.write(prefixes, sent, now)
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

// prefixes returns the prefixes of the prompt that end with a block.
func (r *naiveRequest) prefixes() []naivePrefix {
	prefixes := make([]naivePrefix, len(r.blocks))
	h := uint64(0)
	for n, id := range r.blocks {
		h = hash(h^uint64(id), 99)
		prefixes[n] = naivePrefix{r.model, h, n}
	}
	return prefixes
}

type naivePrefix struct {
	model string
	hash  uint64
	depth int
}

// naiveCache is the cache of one account.
type naiveCache map[naivePrefix]naiveState

type naiveState struct{ readable, expires time.Duration }

// hits returns the number of prefixes that can be read now, and prolongs their lifetime.
func (c naiveCache) hits(prefixes []naivePrefix, now time.Duration) int {
	hits := 0
	for _, p := range prefixes {
		s, ok := c[p]
		if !ok || s.readable > now || s.expires <= now {
			break
		}
		c[p] = naiveState{s.readable, max(s.expires, now+ttl)}
		hits++
	}
	return hits
}

// write makes prefixes readable now. Their lifetime counts from sent.
func (c naiveCache) write(prefixes []naivePrefix, sent, now time.Duration) {
	for _, p := range prefixes {
		s, ok := c[p]
		if !ok || s.expires <= sent {
			s = naiveState{now, sent + ttl}
		}
		c[p] = naiveState{min(s.readable, now), max(s.expires, sent+ttl)}
	}
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

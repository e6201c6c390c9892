package edge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bounded returns a limiter of 80 MB with a reserve of 10 MB, for bodies of up to 32 MB.
func bounded() *inflightLimiter {
	f := &inflightLimiter{}
	f.resize(80*mb, 32*mb)
	return f
}

const mb = 1 << 20

func named(key string) *bodyMemory { return &bodyMemory{owner: owner{key: key}} }

// pacer is a response whose client is interrupted when its body is evicted.
type pacer struct {
	http.ResponseWriter
	mu   sync.Mutex
	past bool
}

func (p *pacer) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.past = !t.IsZero() && t.Before(time.Now())
	return nil
}

func (p *pacer) interrupted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.past
}

// reads adds a body that is being read, with a first claim of n bytes.
func reads(t *testing.T, f *inflightLimiter, key string, n int64) (*bodyMemory, *pacer) {
	t.Helper()
	h, p := named(key), &pacer{}
	if !f.claimFirst(t.Context(), noWait, h, n) {
		t.Fatalf("no memory for %d bytes of %s", n, key)
	}
	h.startReading(http.NewResponseController(p))
	return h, p
}

func TestInflightLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := bounded()
		a, _ := reads(t, f, "a", mb)
		if !f.claimSecond(t.Context(), noWait, a, 32*mb) || f.usedBytes() != 32*mb {
			t.Fatalf("%d bytes", f.usedBytes())
		}
		b, _ := reads(t, f, "b", mb)
		if !f.claimSecond(t.Context(), noWait, b, 32*mb) || f.usedBytes() != 64*mb {
			t.Fatalf("%d bytes", f.usedBytes())
		}
		c, _ := reads(t, f, "c", mb)
		if f.claimSecond(t.Context(), noWait, c, 8*mb) {
			t.Error("second claims used the reserve")
		}
		if !f.claimExtra(c, 10*mb) || f.claimExtra(c, 10*mb) {
			t.Error("the bound was exceeded")
		}
		for _, h := range []*bodyMemory{a, b, c} {
			f.releaseAll(h)
		}
		if f.usedBytes() != 0 || len(f.owners) != 0 || f.reading != nil || f.large != 0 {
			t.Errorf("%d bytes, %v", f.usedBytes(), f.owners)
		}
		// A body of the maximum size fits with any bound, and a larger one fits if no other body is
		// there.
		f.resize(mb, 32*mb)
		d, _ := reads(t, f, "d", mb)
		if !f.claimSecond(t.Context(), noWait, d, 32*mb+1) {
			t.Error("a body of the maximum size was refused")
		}
		f.releaseAll(d)
		f.resize(0, 32*mb)
		if !f.claimFirst(t.Context(), noWait, named("e"), 1<<40) {
			t.Error("a body was refused without a bound")
		}
	})
}

// TestOwnersShareMemory checks that owners with a full share leave memory for others, and that the
// owner that holds the least is next.
func TestOwnersShareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := bounded()
		var greedy []*bodyMemory
		for range 1000 {
			h := named("greedy")
			if !f.claimFirst(t.Context(), noWait, h, 256<<10) {
				break
			}
			greedy = append(greedy, h)
		}
		if n := f.usedBytes(); n < f.limit/2 || n > f.limit*4/5 {
			t.Errorf("one owner holds %d of %d", n, f.limit)
		}
		small := named("ann")
		if !f.claimFirst(t.Context(), noWait, small, 256<<10) {
			t.Error("no memory for another owner")
		}
		var mu sync.Mutex
		var order []string
		wait := func(key string, n int64) {
			go func() {
				if f.claimFirst(t.Context(), time.Hour, named(key), n) {
					mu.Lock()
					order = append(order, key)
					mu.Unlock()
				}
			}()
			synctest.Wait()
		}
		wait("greedy", mb)
		wait("bob", 30*mb) // more than is free
		wait("ann", 30*mb)
		for _, h := range greedy {
			f.releaseAll(h)
			synctest.Wait()
		}
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(order) != "[bob ann greedy]" {
			t.Error(order)
		}
	})
}

// TestLargeBodiesDoNotBlockSmallOnes checks that an owner whose large bodies use its share can
// still send small ones.
func TestLargeBodiesDoNotBlockSmallOnes(t *testing.T) {
	f := bounded()
	for range 2 {
		h := named("ann")
		if !f.claimFirst(t.Context(), noWait, h, mb) || !f.claimSecond(t.Context(), noWait, h, 30*mb) {
			t.Fatal("no memory")
		}
	}
	if third := named("ann"); !f.claimFirst(t.Context(), noWait, third, mb) || f.claimSecond(t.Context(), noWait, third, 8*mb) {
		t.Error("a third large body must exceed the share, and its first claim must not")
	}
	if !f.claimFirst(t.Context(), noWait, named("ann"), mb) || !f.claimFirst(t.Context(), noWait, named("bob"), mb) {
		t.Error("small bodies were refused")
	}
}

// TestSlowBodiesAreEvicted checks that only bodies that arrive too slowly are evicted while memory
// is short.
func TestSlowBodiesAreEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := bounded()
		slow, slowly := reads(t, f, "slow", mb)
		fast, quickly := reads(t, f, "fast", mb)
		for _, h := range []*bodyMemory{slow, fast} {
			if !f.claimSecond(t.Context(), noWait, h, 32*mb) {
				t.Fatal("no memory")
			}
		}
		time.Sleep(time.Minute)
		if slowly.interrupted() || quickly.interrupted() {
			t.Fatal("evicted without need")
		}
		slow.extendDeadline(time.Now())
		time.Sleep(slowAfter)
		fast.recordProgress(time.Now())
		next, _ := reads(t, f, "next", mb)
		granted := make(chan bool, 1)
		began := time.Now()
		go func() { granted <- f.claimSecond(t.Context(), 0, next, 32*mb) }()
		synctest.Wait()
		if !slowly.interrupted() || quickly.interrupted() {
			t.Fatalf("slow: %t, fast: %t", slowly.interrupted(), quickly.interrupted())
		}
		f.releaseAll(slow)
		if !<-granted || time.Since(began) > evictionPeriod {
			t.Errorf("no memory after %v", time.Since(began))
		}
		// Bodies that wait for their second claim are evicted in favour of first claims of others.
		waiter, _ := reads(t, f, "fast", 8*mb)
		second := make(chan bool, 1)
		go func() { second <- f.claimSecond(t.Context(), time.Hour, waiter, 32*mb) }()
		synctest.Wait()
		last := make(chan bool, 1)
		small := named("last")
		small.firstOnly = true
		go func() { last <- f.claimFirst(t.Context(), time.Hour, small, 16*mb) }()
		if <-second {
			t.Error("a body that cannot get its second claim still blocks others")
		}
		f.releaseAll(waiter)
		f.releaseAll(fast)
		if !<-last || f.leaving != 0 {
			t.Errorf("%d bytes leaving", f.leaving)
		}
	})
}

// TestBodiesDoNotDeadlock sends many bodies of all sizes at random times. The bound holds, all
// bodies that are not evicted are read, and no memory remains claimed.
func TestBodiesDoNotDeadlock(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			f := bounded()
			random := rand.New(rand.NewPCG(seed, 0))
			var wg sync.WaitGroup
			var mu sync.Mutex
			refused := 0
			for i := range 150 {
				h, size, pause, rate := named(fmt.Sprint(i%7)), random.Int64N(32*mb), time.Duration(random.Int64N(int64(10*time.Second))), mb/4+random.Int64N(4*mb)
				wg.Go(func() {
					time.Sleep(pause)
					if !f.claimFirst(t.Context(), time.Hour, h, f.firstClaimLocked(size)) {
						t.Error("no memory for a first claim")
						return
					}
					defer f.releaseAll(h)
					p := &pacer{}
					h.startReading(http.NewResponseController(p))
					if size >= f.firstClaimLocked(size) && !f.claimSecond(t.Context(), time.Hour, h, size) {
						mu.Lock()
						refused++
						mu.Unlock()
						return
					}
					for arrived := int64(0); arrived < size && !p.interrupted(); arrived += rate / 4 {
						time.Sleep(time.Second / 4)
						h.recordProgress(time.Now())
					}
					h.stopReading()
					f.bodyArrived(h, size)
					if used := f.usedBytes(); used > f.limit {
						t.Errorf("%d of %d bytes", used, f.limit)
					}
					time.Sleep(time.Second)
				})
			}
			wg.Wait()
			if f.usedBytes() != 0 || f.large != 0 || f.leaving != 0 || f.reading != nil || len(f.waiting) != 0 || len(f.owners) != 0 {
				t.Errorf("seed %d: %d bytes, %d large, %d leaving", seed, f.usedBytes(), f.large, f.leaving)
			}
			if refused > 5 {
				t.Errorf("seed %d: %d of 150 were evicted while they waited", seed, refused)
			}
		})
	}
}

func TestWithdrawnClaimsUnblockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := bounded()
		f.claimFirst(t.Context(), noWait, named("a"), 60*mb)
		ctx, leave := context.WithCancel(t.Context())
		refused := make(chan bool, 1)
		go func() { refused <- !f.claimFirst(ctx, time.Hour, named("b"), 60*mb) }()
		synctest.Wait()
		let := make(chan bool, 1)
		go func() { let <- f.claimFirst(t.Context(), time.Hour, named("c"), 20*mb) }()
		synctest.Wait()
		leave()
		if !<-refused || !<-let || f.usedBytes() != 80*mb {
			t.Errorf("%d bytes", f.usedBytes())
		}
	})
}

func TestBufferPool(t *testing.T) {
	var m bufferPool
	for _, n := range []int64{1, 4096, 4097, 16384, 16385, 70_000, 256 << 10, 256<<10 + 1, 1 << 20, 4 << 20} {
		m.put(make([]byte, 0, n))
		for _, want := range []int64{n, n/4 + 1} {
			// Under the race detector sync.Pool drops buffers at random.
			if b := m.take(want); b != nil && (int64(cap(b)) < want || int64(cap(b)) > max(4*want, 4096)) {
				t.Errorf("%d bytes for %d", cap(b), want)
			}
		}
	}
	if m.take(4<<20+1) != nil || !slices.Equal([]int{classOf(1), classOf(4096), classOf(4097), classOf(1 << 20), classOf(4 << 20), classOf(1 << 30)}, []int{0, 0, 1, 4, 5, 6}) {
		t.Error("wrong size classes")
	}
}

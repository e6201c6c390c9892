package edge

import (
	"context"
	"slices"
	"sync"
	"time"
)

// inflight bounds the memory of all bodies together: those being read, and those that may still have to be sent. Who
// finds no room waits, first come, first served, so that a large body is not passed by small ones for ever.
// Safe for concurrent use.
type inflight struct {
	mu      sync.Mutex
	limit   int64 // bytes; 0: none
	used    int64
	waiting []*claim
}

// claim is somebody who waits.
type claim struct {
	bytes int64
	in    chan struct{} // closed when there is room
}

// resize changes the bound.
func (f *inflight) resize(limit int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = limit
	f.admit()
}

// enter takes room for n bytes, waiting for it as long as ctx lasts, and not longer than patience. A body larger than the bound takes all of it.
// It returns what leave is to be told, and false when there was no room.
func (f *inflight) enter(ctx context.Context, patience time.Duration, n int64) (taken int64, ok bool) {
	f.mu.Lock()
	if f.limit > 0 {
		n = min(n, f.limit)
	}
	if f.fits(n) && len(f.waiting) == 0 {
		f.used += n
		f.mu.Unlock()
		return n, true
	}
	c := &claim{n, make(chan struct{})}
	f.waiting = append(f.waiting, c)
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-c.in:
		return n, true
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.waiting, c)
	if i < 0 { // it was let in at the same moment
		return n, true
	}
	f.waiting = slices.Delete(f.waiting, i, i+1)
	f.admit() // it may have stood in the way of a smaller one
	return 0, false
}

// more takes room for n further bytes if there is any: who holds some must not wait for more.
func (f *inflight) more(n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.fits(n) {
		return false
	}
	f.used += n
	return true
}

// leave gives room back.
func (f *inflight) leave(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used -= n
	f.admit()
}

// fits says whether there is room. The caller holds the mutex.
func (f *inflight) fits(n int64) bool { return f.limit == 0 || f.used == 0 || f.used+n <= f.limit }

// admit lets in who waits, in order. The caller holds the mutex.
func (f *inflight) admit() {
	for len(f.waiting) > 0 && f.fits(f.waiting[0].bytes) {
		f.used += f.waiting[0].bytes
		close(f.waiting[0].in)
		f.waiting = slices.Delete(f.waiting, 0, 1)
	}
}

// bytes is how much is taken.
func (f *inflight) bytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

package upstream

import "sync"

// bell wakes those who wait for an endpoint to return. Safe for concurrent use.
type bell struct {
	mu   sync.Mutex
	rung chan struct{}
}

// next returns a channel that is closed by the next ring.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

package upstream

import "sync"

// notifier wakes those who wait for an endpoint to return, and those who wait for another request, of whom there are
// fewer and who are woken more often. Safe for concurrent use.
type notifier struct {
	mu         sync.Mutex
	rung, held chan struct{} // nil while nobody waits
}

// next returns a channel that is closed by the next ring.
func (b *notifier) next() <-chan struct{} { return b.waitAt(&b.rung) }

// nextOrWake returns a channel that is closed by the next ring or wake.
func (b *notifier) nextOrWake() <-chan struct{} { return b.waitAt(&b.held) }

func (b *notifier) waitAt(c *chan struct{}) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *c == nil {
		*c = make(chan struct{})
	}
	return *c
}

// notify wakes everybody.
func (b *notifier) notify() { b.announce(&b.rung, &b.held) }

// wake wakes those who wait for another request.
func (b *notifier) wake() { b.announce(&b.held) }

func (b *notifier) announce(waiting ...*chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range waiting {
		if *c != nil {
			close(*c)
			*c = nil
		}
	}
}

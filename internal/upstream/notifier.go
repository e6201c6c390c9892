package upstream

import "sync"

// notifier wakes requests that wait for an endpoint to recover, and requests that wait for another
// request. The latter are fewer and are woken more often. Safe for concurrent use.
type notifier struct {
	mu                      sync.Mutex
	changed, changedOrWoken chan struct{} // nil if no request waits
}

// next returns a channel that the next notify closes.
func (n *notifier) next() <-chan struct{} { return n.waitOn(&n.changed) }

// nextOrWake returns a channel that the next notify or wake closes.
func (n *notifier) nextOrWake() <-chan struct{} { return n.waitOn(&n.changedOrWoken) }

func (n *notifier) waitOn(c *chan struct{}) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if *c == nil {
		*c = make(chan struct{})
	}
	return *c
}

// notify wakes all waiting requests.
func (n *notifier) notify() { n.closeAll(&n.changed, &n.changedOrWoken) }

// wake wakes the requests that wait for another request.
func (n *notifier) wake() { n.closeAll(&n.changedOrWoken) }

func (n *notifier) closeAll(waiting ...*chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range waiting {
		if *c != nil {
			close(*c)
			*c = nil
		}
	}
}

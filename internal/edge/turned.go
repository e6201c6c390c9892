package edge

import (
	"maps"
	"sync"
)

// turnedAway counts requests that nobody was asked to serve, by the status that they got. Safe for concurrent use.
type turnedAway struct {
	mu       sync.Mutex
	byStatus map[int]int64
}

func (t *turnedAway) add(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byStatus == nil {
		t.byStatus = map[int]int64{}
	}
	t.byStatus[status]++
}

// TurnedAway counts the requests that were refused before anything was known of them, such as those
// without a key that is known, by status.
func (h *Handler) TurnedAway() map[int]int64 {
	h.turned.mu.Lock()
	defer h.turned.mu.Unlock()
	return maps.Clone(h.turned.byStatus)
}

package edge

import (
	"maps"
	"sync"
)

// rejections counts requests that were rejected before routing, by status. Safe for concurrent use.
type rejections struct {
	mu       sync.Mutex
	byStatus map[int]int64
}

func (t *rejections) add(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byStatus == nil {
		t.byStatus = map[int]int64{}
	}
	t.byStatus[status]++
}

// Rejections returns the number of requests rejected before routing, for example for an unknown
// key, by status.
func (h *Handler) Rejections() map[int]int64 {
	h.rejected.mu.Lock()
	defer h.rejected.mu.Unlock()
	return maps.Clone(h.rejected.byStatus)
}

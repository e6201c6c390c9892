package edge

import (
	"maps"
	"sync"
)

// rejections counts requests that nobody was asked to serve, by the status that they got. Safe for concurrent use.
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

// Rejections counts the requests that were refused before anything was known of them, such as those
// without a key that is known, by status.
func (h *Handler) Rejections() map[int]int64 {
	h.rejected.mu.Lock()
	defer h.rejected.mu.Unlock()
	return maps.Clone(h.rejected.byStatus)
}

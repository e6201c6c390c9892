package edge

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
)

// Health is the body of GET /health. It contains no names of servers or keys, because no
// authentication is required.
type Health struct {
	Status     string `json:"status"` // "ok", "degraded" or "unavailable"
	Mode       string `json:"mode"`
	Algorithm  string `json:"algorithm,omitempty"`
	Total      int    `json:"total"`
	Available  int    `json:"available"`
	Cooling    int    `json:"cooling"`
	LowBalance int    `json:"low_balance"`
	Draining   int    `json:"draining"`
	Unwritten  int    `json:"ledger_waiting,omitempty"` // requests that wait to be written to the ledger
	compatHealth
	Time time.Time `json:"time"`
}

// compatHealth has the fields that 9bingyin/claude-code-lb reported under the same path, so that
// probes written for it still work.
type compatHealth struct {
	TotalServers     int     `json:"total_servers"`
	AvailableServers int     `json:"available_servers"`
	CoolingDown      int     `json:"cooling_down"`
	LoadBalancer     string  `json:"load_balancer"` // the configured algorithm, in every mode
	Fallback         bool    `json:"fallback"`
	CooldownSeconds  float64 `json:"cooldown_seconds"`
}

// serveHealth responds with 200 while a server is available for new requests, and otherwise with
// 503.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request, id string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		h.refuse(w, http.StatusMethodNotAllowed, claude.ErrInvalidRequest, id, "/health accepts GET and HEAD.")
		return
	}
	s := h.current.Load()
	now := time.Now()
	c := s.Table.Counts(now)
	health := Health{
		Status: "ok", Mode: s.Mode, Algorithm: s.Algorithm, Total: c.Total, Available: c.Available,
		Cooling: c.Cooling, LowBalance: c.LowBalance, Draining: c.Draining, Time: now.UTC().Truncate(time.Second),
		compatHealth: compatHealth{
			TotalServers: c.Total, AvailableServers: c.Available, CoolingDown: c.Cooling,
			LoadBalancer: s.LoadBalancer, Fallback: s.Mode == string(config.ModeFallback), CooldownSeconds: s.Cooldown.Seconds(),
		},
	}
	if h.Unwritten != nil {
		health.Unwritten = h.Unwritten()
	}
	status := http.StatusOK
	switch {
	case c.Available == 0:
		health.Status, status = "unavailable", http.StatusServiceUnavailable
	case c.Cooling+c.LowBalance > 0:
		health.Status = "degraded"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		json.NewEncoder(w).Encode(health)
	}
}

package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"time"
)

const (
	defaultProfilingMinutes = 10 // minutes
	maxProfilingMinutes     = 24 * 60
)

// allowProfiling opens /debug/pprof for some minutes, or closes it with 0.
func (h *Handler) allowProfiling(w http.ResponseWriter, r *http.Request) {
	req := struct {
		Minutes int `json:"minutes"`
	}{defaultProfilingMinutes}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil && !errors.Is(err, io.EOF) || req.Minutes < 0 || req.Minutes > maxProfilingMinutes {
		newProblem(http.StatusBadRequest, "invalid_request", fmt.Sprintf(`The body must be an object such as {"minutes": 10}, 0 to %d.`, maxProfilingMinutes)).write(w)
		return
	}
	until := time.Now().Add(time.Duration(req.Minutes) * time.Minute)
	h.profiling.Store(until.UnixNano())
	h.audit(r, "pprof", fmt.Sprintf("%d minutes", req.Minutes))
	writeJSON(w, http.StatusOK, map[string]time.Time{"until": until.UTC()})
}

func (h *Handler) profiles(w http.ResponseWriter, r *http.Request) {
	if h.isProfiling(w) {
		pprof.Index(w, r)
	}
}

func (h *Handler) profile(w http.ResponseWriter, r *http.Request) {
	if !h.isProfiling(w) {
		return
	}
	switch r.PathValue("profile") {
	case "profile":
		pprof.Profile(w, r)
	case "trace":
		pprof.Trace(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	default: // the command line may contain secrets
		pprof.Handler(r.PathValue("profile")).ServeHTTP(w, r)
	}
}

// isProfiling reports whether profiling is allowed now, and sends an error if it is not.
func (h *Handler) isProfiling(w http.ResponseWriter) bool {
	if time.Now().UnixNano() < h.profiling.Load() {
		return true
	}
	newProblem(http.StatusNotFound, "not_found", `Profiling is off: POST {"minutes": 10} to /admin/api/pprof to allow it for that long.`).write(w)
	return false
}

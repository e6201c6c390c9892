package admin

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

func (h *Handler) drain(w http.ResponseWriter, r *http.Request) {
	h.changeServer(w, r, "drain", func(e *upstream.Endpoint, _ time.Time) { e.Drain() })
}

func (h *Handler) undrain(w http.ResponseWriter, r *http.Request) {
	h.changeServer(w, r, "undrain", func(e *upstream.Endpoint, _ time.Time) { e.Undrain() })
}

func (h *Handler) reset(w http.ResponseWriter, r *http.Request) {
	h.changeServer(w, r, "reset", (*upstream.Endpoint).Reset)
}

// changeServer changes a server and responds with its new state.
func (h *Handler) changeServer(w http.ResponseWriter, r *http.Request, action string, do func(*upstream.Endpoint, time.Time)) {
	name := r.PathValue("name")
	for _, e := range h.Table().Endpoints() {
		if e.Name() == name {
			now := time.Now()
			do(e, now)
			h.audit(r, action, name)
			writeJSON(w, http.StatusOK, serverOf(e, now))
			return
		}
	}
	newProblem(http.StatusNotFound, "not_found", "No server of the configuration has this name: /admin/api/servers lists them.").write(w)
}

// maxSession is the length of the longest session id that a client can send.
const maxSession = 128

func (h *Handler) flush(w http.ResponseWriter, r *http.Request) {
	session := r.PathValue("id")
	if len(session) > maxSession {
		newProblem(http.StatusBadRequest, "invalid_request", "No session has such a long id.").write(w)
		return
	}
	h.Index.Flush(session, time.Now())
	h.audit(r, "flush", session)
	writeJSON(w, http.StatusOK, map[string]string{"session": session})
}

// reload is the only change that may fail on its own.
func (h *Handler) reload(w http.ResponseWriter, r *http.Request) {
	h.audit(r, "reload", "configuration")
	generation, problems, err := h.Reload()
	if err != nil {
		p := newProblem(http.StatusUnprocessableEntity, "reload_failed", "The old configuration stays in force: "+err.Error())
		p.Problems = configProblems(problems)
		p.write(w)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"generation": generation, "problems": configProblems(problems)})
}

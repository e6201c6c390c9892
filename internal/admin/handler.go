// Package admin is what an operator sees of a running balancer and may change
// in it, over HTTP: metrics, the state of servers, requests and decisions, and
// a few levers. Clients never reach it: it has a listener of its own.
//
// Invariants. Who cannot show the admin key, where there is one, learns
// nothing; without one only this machine is served. Every change is written to
// the log with who asked for it. No answer holds a credential.
package admin

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// Sources are where the handler gets what it shows, and whom it tells what is to change. All are safe for concurrent use.
type Sources struct {
	Metrics   http.Handler
	Table     func() *routing.Table // of the generation in force
	Index     *routing.Index
	Status    func() Status
	Requests  func() []Request  // being served, the oldest first
	Decisions func() []Decision // the latest finished requests, the newest first
	Keys      func() any        // a list of client keys without their secrets, as JSON has it; nil: there are none
	// Reload puts the configuration file's present content in force. Problems are those of the file; an error says why the old
	// content stays in force. It may be called at any time and returns in its turn.
	Reload func() (generation uint64, problems config.Problems, err error)
}

// Handler answers on the admin listener. Safe for concurrent use.
type Handler struct {
	Sources
	log       *slog.Logger
	mux       *http.ServeMux
	key       atomic.Pointer[keyHash] // nil: only this machine is served
	proxies   atomic.Pointer[[]netip.Prefix]
	guesses   telemetry.Guesses
	origins   *http.CrossOriginProtection
	profiling atomic.Int64 // until when, in Unix nanoseconds
}

// NewHandler makes a handler that demands a key, unless that is empty.
func NewHandler(s Sources, key config.Secret, log *slog.Logger) *Handler {
	h := &Handler{Sources: s, log: log, mux: http.NewServeMux(), origins: http.NewCrossOriginProtection()}
	h.guesses.Log, h.guesses.Message = log, telemetry.WrongAdminKey
	h.SetKey(key)
	for _, r := range h.routes() {
		h.mux.HandleFunc(r.method+" "+r.pattern, r.serve)
	}
	h.mux.HandleFunc("/", h.nowhere)
	return h
}

// route is one thing that can be asked for.
type route struct {
	method, pattern string // as http.ServeMux has them
	serve           http.HandlerFunc
}

func (h *Handler) routes() []route {
	return []route{
		{http.MethodGet, "/metrics", h.Metrics.ServeHTTP},
		{http.MethodGet, "/admin/api/openapi.yaml", h.openAPI},
		{http.MethodGet, "/admin/api/status", withoutParameters(h.status)},
		{http.MethodGet, "/admin/api/servers", withoutParameters(h.servers)},
		{http.MethodPost, "/admin/api/servers/{name}/drain", h.drain},
		{http.MethodPost, "/admin/api/servers/{name}/undrain", h.undrain},
		{http.MethodPost, "/admin/api/servers/{name}/reset", h.reset},
		{http.MethodGet, "/admin/api/keys", withoutParameters(h.keys)},
		{http.MethodGet, "/admin/api/requests", withoutParameters(h.requests)},
		{http.MethodGet, "/admin/api/decisions", h.decisions},
		{http.MethodPost, "/admin/api/sessions/{id}/flush", h.flush},
		{http.MethodPost, "/admin/api/reload", h.reload},
		{http.MethodPost, "/admin/api/pprof", h.allowProfiling},
		{http.MethodGet, "/debug/pprof/{$}", h.profiles},
		{http.MethodGet, "/debug/pprof/{profile}", h.profile},
	}
}

// maxBody is far more than any request here needs.
const maxBody = 64 << 10

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if refusal := h.refusal(r); refusal != nil {
		refusal = h.slowDown(r, refusal)
		h.log.Log(r.Context(), levelOf(refusal), telemetry.AdminRefused, telemetry.Remote, r.RemoteAddr, telemetry.Status, refusal.status, telemetry.Reason, refusal.Type)
		if refusal.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="claude-code-lb admin"`)
		}
		refusal.send(w)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// nowhere answers what no route is for.
func (h *Handler) nowhere(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range [...]string{http.MethodGet, http.MethodPost} {
		if _, pattern := h.mux.Handler(&http.Request{Method: method, URL: r.URL, Host: r.Host}); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		fail(http.StatusNotFound, "not_found", "There is nothing here: /admin/api/openapi.yaml describes what there is.").send(w)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	fail(http.StatusMethodNotAllowed, "method_not_allowed", "This answers "+strings.Join(allowed, " and ")+" alone.").send(w)
}

// audit writes down that something was changed.
func (h *Handler) audit(r *http.Request, action, target string) {
	h.log.Info(telemetry.OperatorChange, telemetry.Action, action, telemetry.Target, target, telemetry.Remote, r.RemoteAddr)
}

// seconds is a duration as JSON has it here.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

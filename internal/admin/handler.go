// Package admin serves the operator's API over HTTP: metrics, the state of servers, requests and
// decisions, and changes of a running balancer. Clients do not reach its
// listener.
//
// If there is an admin key, every request must contain it; otherwise only requests from this
// machine are served. Every change is logged with the address of its sender. No response contains a
// credential.
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
	"github.com/9bingyin/claude-code-lb/internal/store"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// Sources are the functions that the handler calls for data and changes. All are safe for
// concurrent use.
type Sources struct {
	Metrics   http.Handler
	Table     func() *routing.Table // of the generation in force
	Index     *routing.Index
	Status    func() Status
	Requests  func() []Request    // in flight, the oldest first
	Decisions func() []Decision   // the latest finished requests, the newest first
	Keys      func() any          // client keys without their secrets, in the form of the JSON response; nil: there are no keys
	Ledger    func() *store.Store // the open ledger, nil while it is not open; nil: the ledger is off
	Zone      func() string       // time zone of reports, "" means UTC; may be nil
	// Reload applies the current content of the configuration file. Problems are those of the file;
	// an error is the reason why the old configuration stays in force. It may be called at any
	// time; calls run one after another.
	Reload func() (generation uint64, problems config.Problems, err error)
}

// Handler serves the admin listener. Safe for concurrent use.
type Handler struct {
	Sources
	log       *slog.Logger
	mux       *http.ServeMux
	key       atomic.Pointer[keyHash] // nil: only this machine is served
	proxies   atomic.Pointer[[]netip.Prefix]
	guesses   telemetry.Guesses
	origins   *http.CrossOriginProtection
	profiling atomic.Int64 // end of profiling, in Unix nanoseconds
}

// NewHandler returns a handler that requires a key unless the key is empty.
func NewHandler(s Sources, key config.Secret, log *slog.Logger) *Handler {
	h := &Handler{Sources: s, log: log, mux: http.NewServeMux(), origins: http.NewCrossOriginProtection()}
	h.guesses.Log, h.guesses.Message = log, telemetry.WrongAdminKey
	h.SetKey(key)
	for _, r := range h.routes() {
		h.mux.HandleFunc(r.method+" "+r.pattern, r.serve)
	}
	h.mux.HandleFunc("/", h.notFound)
	return h
}

// route is one operation of the API.
type route struct {
	method, pattern string // in the syntax of http.ServeMux
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
		{http.MethodGet, "/admin/api/report", h.report},
		{http.MethodGet, "/admin/api/log", h.logList},
		{http.MethodGet, "/admin/api/log/{id}", withoutParameters(h.logOne)},
		{http.MethodPost, "/admin/api/sessions/{id}/flush", h.flush},
		{http.MethodPost, "/admin/api/reload", h.reload},
		{http.MethodPost, "/admin/api/pprof", h.allowProfiling},
		{http.MethodGet, "/debug/pprof/{$}", h.profiles},
		{http.MethodGet, "/debug/pprof/{profile}", h.profile},
	}
}

// maxBody is far more than any request needs.
const maxBody = 64 << 10

// ServeHTTP serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if refusal := h.authorize(r); refusal != nil {
		refusal = h.delayRefusal(r, refusal)
		h.log.Log(r.Context(), levelOf(refusal), telemetry.AdminRefused, telemetry.Remote, r.RemoteAddr, telemetry.Status, refusal.status, telemetry.Reason, refusal.Type)
		if refusal.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="claude-code-lb admin"`)
		}
		refusal.write(w)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// notFound responds to requests without a route.
func (h *Handler) notFound(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range [...]string{http.MethodGet, http.MethodPost} {
		if _, pattern := h.mux.Handler(&http.Request{Method: method, URL: r.URL, Host: r.Host}); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		newProblem(http.StatusNotFound, "not_found", "This path does not exist: /admin/api/openapi.yaml describes the API.").write(w)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "This path only accepts "+strings.Join(allowed, " and ")+".").write(w)
}

// audit logs a change.
func (h *Handler) audit(r *http.Request, action, target string) {
	h.log.Info(telemetry.OperatorChange, telemetry.Action, action, telemetry.Target, target, telemetry.Remote, r.RemoteAddr)
}

// seconds returns a duration in the form of the JSON responses.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

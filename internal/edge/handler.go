// Package edge serves clients: it authenticates requests, assigns request ids, reads bodies under
// limits, responds to the paths that the balancer serves itself, and passes all other requests to
// package proxy.
//
// A Snapshot holds everything that a reload replaces. A request loads it once and uses it to its
// end.
package edge

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/transport"
)

// Snapshot is one generation of everything that a reload replaces. It is immutable.
type Snapshot struct {
	Gen       uint64
	Guard     *Guard
	Book      *quota.Book    // usage of the client keys
	Proxies   []netip.Prefix // trusted proxies, which report the client's address
	Table     *routing.Table
	Limits    Limits
	Browsers  *Browsers       // nil: no page is allowed, and none is refused
	Loop      *transport.Loop // nil: loops are not detected
	Forward   *proxy.Settings
	Mode      string
	Algorithm string

	LoadBalancer string        // the configured algorithm, even if the mode does not use it
	Cooldown     time.Duration // as configured
	TimeZone     string        // of reports; "" means UTC
	ShowServers  bool          // holders of client keys may see the names of servers
}

// Limits bound the bodies of requests.
type Limits struct {
	MaxBody   int64         // bytes
	MaxUpload int64         // bytes of a file or skill
	InFlight  int64         // bytes of all bodies together; 0: no bound
	BodyWait  time.Duration // how long a body waits for memory
}

// Handler serves clients. Safe for concurrent use.
type Handler struct {
	current  atomic.Pointer[Snapshot]
	open     atomic.Int64
	bodies   bodyReader
	rejected rejections
	guesses  telemetry.Guesses
	pageLog  telemetry.Occasional // limits log lines about refused pages
	loopLog  telemetry.Occasional // limits log lines about loops
	proxy    *proxy.Proxy
	log      *slog.Logger

	// Unwritten returns the number of ledger entries that wait in memory because the ledger cannot
	// be written; nil: there is no ledger. It must be set before the first request.
	Unwritten func() int

	// Member serves holders of client keys; nil: nothing does. It must be set before the first
	// request.
	Member MemberView
}

// NewHandler returns a handler with a first generation.
func NewHandler(p *proxy.Proxy, log *slog.Logger, first *Snapshot) *Handler {
	h := &Handler{
		proxy: p, log: log, bodies: bodyReader{decoders: make(chan struct{}, runtime.GOMAXPROCS(0)+1)},
		pageLog: telemetry.Occasional{Every: logPeriod}, loopLog: telemetry.Occasional{Every: logPeriod},
	}
	h.guesses.Log, h.guesses.Message = log, telemetry.WrongKey
	h.Swap(first)
	return h
}

// Swap puts a new generation in force for requests that arrive from now on.
func (h *Handler) Swap(s *Snapshot) {
	h.current.Store(s)
	h.bodies.limiter.resize(s.Limits.InFlight, s.Limits.MaxBody)
}

// InFlight returns the bytes of memory that request bodies use.
func (h *Handler) InFlight() int64 { return h.bodies.limiter.usedBytes() }

// Current returns the generation in force.
func (h *Handler) Current() *Snapshot { return h.current.Load() }

// Open returns the number of requests being served.
func (h *Handler) Open() int64 { return h.open.Load() }

// ServeHTTP serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.open.Add(1)
	defer h.open.Add(-1)
	id := newRequestID()
	defer h.recoverPanic(w, r, id)

	if isMemberPath(r.URL.Path) {
		h.serveMember(w, r, id)
		return
	}
	removeDoubledPrefix(r.URL)
	if r.Method == http.MethodOptions || r.Header["Origin"] != nil || r.Header["Sec-Fetch-Site"] != nil {
		if w = h.serveBrowser(w, r, id); w == nil {
			return
		}
	}
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/v1/"):
		h.serveAPI(w, r, id)
	case path == "/health":
		h.serveHealth(w, r, id)
	case path == "/" || path == "/api/hello", r.Method == http.MethodPost && strings.HasPrefix(path, "/api/event_logging/"):
		serveStub(w, r)
	default:
		h.refuse(w, http.StatusNotFound, claude.ErrNotFound, id,
			"claude-code-lb serves /v1/… and /health: set ANTHROPIC_BASE_URL to its address without a path.")
	}
}

// newRequestID returns a random request id.
func newRequestID() string { return "req_lb_" + rand.Text()[:20] }

// serveStub responds to startup probes and telemetry of Claude Code, which do not concern the
// upstreams.
func serveStub(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write([]byte("{}\n"))
	}
}

func (h *Handler) serveAPI(w http.ResponseWriter, r *http.Request, id string) {
	s := h.current.Load()
	if hasDotSegment(r.URL.Path) {
		h.refuse(w, http.StatusBadRequest, claude.ErrInvalidRequest, id, "The path holds a . or .. segment: ask for the path itself.")
		return
	}
	if s.Loop.HasLooped(r.Header) {
		h.refuseLoop(w, id)
		return
	}
	client, key, ok := s.Guard.Authenticate(r)
	if !ok {
		h.refuseKey(w, r, s, id)
		return
	}
	if key == nil && len(s.Proxies) > 0 {
		client = claude.ClientAddress(r.RemoteAddr, r.Header, s.Proxies).String()
	}
	if key != nil {
		if refusal := key.Admit(r.RemoteAddr, time.Now()); refusal != nil {
			h.refuseKnownKey(w, r, id, client, refusal)
			return
		}
	}
	asked := proxy.Request{ID: id, Client: client, Key: key, Book: s.Book, HTTP: r, Table: s.Table, Settings: s.Forward}
	if resource, ok := claude.ResourceOf(r.Method, r.URL); ok && (resource.Upload || resource.Batch && r.ContentLength > s.Limits.MaxBody) {
		h.serveUpload(w, s, asked)
		return
	}
	seat, ok := h.receiveBody(w, s, &asked)
	defer seat.Leave()
	if !ok {
		return
	}
	h.proxy.Serve(w, asked)
}

// refuseLoop refuses a request that has come back to the balancer.
func (h *Handler) refuseLoop(w http.ResponseWriter, id string) {
	if h.loopLog.Allow(time.Now()) {
		h.log.Warn(telemetry.LoopFound, telemetry.ID, id)
	}
	w.Header().Set("X-Should-Retry", "false")
	h.refuse(w, http.StatusLoopDetected, claude.ErrAPI, id,
		"This request has already passed claude-code-lb: the url of one of its servers, or of a balancer behind it, leads back here. Correct that url.")
}

// refuseKnownKey refuses a request whose key is known but not accepted: it has expired, or does not
// allow this address.
func (h *Handler) refuseKnownKey(w http.ResponseWriter, r *http.Request, id, client string, refusal *quota.Refusal) {
	status := proxy.WriteError(w, refusal.Status, 0, claude.Error{Type: refusal.Type, Message: refusal.Message, RequestID: id})
	h.log.Info(telemetry.Refused, telemetry.ID, id, telemetry.Client, client, telemetry.Status, status, telemetry.Reason, refusal.Reason)
	h.proxy.Record(ledger.Entry{
		ID: id, Start: time.Now(), Client: client, Method: r.Method, Path: claude.RedactKeys(r.URL.Path), Status: status, Outcome: ledger.Refused, Reason: refusal.Reason,
	})
}

// hasDotSegment reports whether a path contains . or .. segments, with which a client could escape
// from the paths that it may use on an upstream.
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// overloadRetryAfter is the Retry-After of responses that report missing capacity.
const overloadRetryAfter = 5 * time.Second

// refuse sends an error of the balancer itself, counts it and logs it.
func (h *Handler) refuse(w http.ResponseWriter, status int, kind claude.ErrorType, id, message string) {
	wait := time.Duration(0)
	if status == http.StatusTooManyRequests {
		wait = overloadRetryAfter
	}
	proxy.WriteError(w, status, wait, claude.Error{Type: kind, Message: message, RequestID: id})
	h.rejected.add(status)
	level := slog.LevelInfo
	if status == http.StatusUnauthorized { // guessed keys must not fill the log; see telemetry.Guesses
		level = slog.LevelDebug
	}
	h.log.Log(context.Background(), level, telemetry.Refused, telemetry.ID, id, telemetry.Status, status, telemetry.Reason, string(kind))
}

// recoverPanic turns a panic into an error for one client, so that the process survives.
func (h *Handler) recoverPanic(w http.ResponseWriter, r *http.Request, id string) {
	fault := recover()
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler {
		panic(fault)
	}
	h.log.ErrorContext(context.WithoutCancel(r.Context()), telemetry.Panicked, telemetry.ID, id, telemetry.Err, fault, telemetry.Stack, string(debug.Stack()))
	if w.Header().Get("Content-Type") != "" { // the response has begun: cut it off
		panic(http.ErrAbortHandler)
	}
	proxy.WriteError(w, http.StatusInternalServerError, 0, claude.Error{
		Type: claude.ErrAPI, Message: "claude-code-lb failed on this request; its log has the details under this request id.", RequestID: id,
	})
}

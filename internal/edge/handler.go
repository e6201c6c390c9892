// Package edge is the face to clients: it names and authenticates requests,
// reads their bodies under limits, answers what is the balancer's own to answer,
// and hands everything else to the proxy.
//
// One pointer, loaded once per request, holds everything that a reload
// replaces: a request ends on the generation on which it began.
package edge

import (
	"context"
	"crypto/rand"
	"fmt"
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

// Snapshot is one generation of everything that a reload replaces. It is never changed.
type Snapshot struct {
	Gen       uint64
	Guard     *Guard
	Book      *quota.Book    // what client keys have used
	Proxies   []netip.Prefix // proxies in front of the balancer that are trusted to name the client
	Table     *routing.Table
	Limits    Limits
	Browsers  *Browsers       // nil: no page is allowed, and none is refused
	Loop      *transport.Loop // nil: no loop is looked for
	Forward   *proxy.Settings
	Mode      string
	Algorithm string

	LoadBalancer string        // the configured algorithm, also in a mode that does not use it
	Cooldown     time.Duration // as configured
}

// Limits bound what a client may send.
type Limits struct {
	MaxBody   int64         // bytes
	MaxUpload int64         // bytes, of a file or skill
	InFlight  int64         // bytes of all bodies together; 0: no bound
	BodyWait  time.Duration // for room
}

// Handler serves clients. Safe for concurrent use.
type Handler struct {
	current  atomic.Pointer[Snapshot]
	open     atomic.Int64
	bodies   bodyReader
	rejected rejections
	guesses  telemetry.Guesses
	pageLog  telemetry.Occasional // refusals of pages in the log
	loopLog  telemetry.Occasional // loops in the log
	proxy    *proxy.Proxy
	log      *slog.Logger

	// Unwritten counts the requests that wait in memory because the ledger cannot be written to;
	// nil: there is no ledger. It is set before the first request.
	Unwritten func() int
}

// NewHandler makes a handler that starts on a first generation.
func NewHandler(p *proxy.Proxy, log *slog.Logger, first *Snapshot) *Handler {
	h := &Handler{
		proxy: p, log: log, bodies: bodyReader{decoders: make(chan struct{}, runtime.GOMAXPROCS(0)+1)},
		pageLog: telemetry.Occasional{Every: logPeriod}, loopLog: telemetry.Occasional{Every: logPeriod},
	}
	h.guesses.Log, h.guesses.Message = log, telemetry.WrongKey
	h.Swap(first)
	return h
}

// Swap puts a new generation in force for all requests that arrive from now on.
func (h *Handler) Swap(s *Snapshot) {
	h.current.Store(s)
	h.bodies.limiter.resize(s.Limits.InFlight, s.Limits.MaxBody)
}

// InFlight is how many bytes of requests' bodies are held.
func (h *Handler) InFlight() int64 { return h.bodies.limiter.usedBytes() }

// Current is the generation in force.
func (h *Handler) Current() *Snapshot { return h.current.Load() }

// Open is the number of requests being served.
func (h *Handler) Open() int64 { return h.open.Load() }

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.open.Add(1)
	defer h.open.Add(-1)
	id := newRequestID()
	defer h.recoverPanic(w, r, id)

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

// newRequestID names a request.
func newRequestID() string { return "req_lb_" + rand.Text()[:20] }

// serveLocally answers start-up probes and telemetry of Claude Code, which are
// not the upstreams' business.
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
	if s.Loop.Closed(r.Header) {
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

// reject answers who shows a key that is known and lets nobody in from there, or no longer.
func (h *Handler) refuseKnownKey(w http.ResponseWriter, r *http.Request, id, client string, refusal *quota.Refusal) {
	status := proxy.WriteError(w, refusal.Status, 0, claude.Error{Type: refusal.Type, Message: refusal.Message, RequestID: id})
	h.log.Info(telemetry.Refused, telemetry.ID, id, telemetry.Client, client, telemetry.Status, status, telemetry.Reason, refusal.Reason)
	h.proxy.Record(ledger.Entry{
		ID: id, Start: time.Now(), Client: client, Method: r.Method, Path: claude.RedactKeys(r.URL.Path), Status: status, Outcome: ledger.Refused, Reason: refusal.Reason,
	})
}

// serveUpload passes a body on as it comes: files may be larger than memory.
func (h *Handler) serveUpload(w http.ResponseWriter, s *Snapshot, asked proxy.Request) {
	r, limit := asked.HTTP, s.Limits.MaxUpload
	if r.ContentLength > limit {
		h.refuse(w, http.StatusRequestEntityTooLarge, claude.ErrTooLarge, asked.ID,
			fmt.Sprintf("The upload exceeds %d MB: raise max_upload_mb of claude-code-lb.", limit>>20))
		return
	}
	body := &stallReader{http.NewResponseController(w), http.MaxBytesReader(w, r.Body, limit)}
	defer body.stop()
	asked.Upload, asked.Start = proxy.NewUpload(body, r.ContentLength), time.Now()
	h.proxy.Serve(w, asked)
}

// hasDotSegment finds path segments with which a client could leave the part of an upstream that it is let into.
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// overloadRetryAfter is when to come again where there was no room.
const overloadRetryAfter = 5 * time.Second

// refuse answers with an error of our own and logs it.
func (h *Handler) refuse(w http.ResponseWriter, status int, kind claude.ErrorType, id, message string) {
	wait := time.Duration(0)
	if status == http.StatusTooManyRequests {
		wait = overloadRetryAfter
	}
	proxy.WriteError(w, status, wait, claude.Error{Type: kind, Message: message, RequestID: id})
	h.rejected.add(status)
	level := slog.LevelInfo
	if status == http.StatusUnauthorized { // guessed keys must not fill the log; see Guesses
		level = slog.LevelDebug
	}
	h.log.Log(context.Background(), level, telemetry.Refused, telemetry.ID, id, telemetry.Status, status, telemetry.Reason, string(kind))
}

// recoverPanic turns a fault of ours into an error for one client instead of a dead process.
func (h *Handler) recoverPanic(w http.ResponseWriter, r *http.Request, id string) {
	fault := recover()
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler {
		panic(fault)
	}
	h.log.ErrorContext(context.WithoutCancel(r.Context()), telemetry.Panicked, telemetry.ID, id, telemetry.Err, fault, telemetry.Stack, string(debug.Stack()))
	if w.Header().Get("Content-Type") != "" { // an answer has begun: cut it
		panic(http.ErrAbortHandler)
	}
	proxy.WriteError(w, http.StatusInternalServerError, 0, claude.Error{
		Type: claude.ErrAPI, Message: "claude-code-lb failed on this request; its log has the details under this request id.", RequestID: id,
	})
}

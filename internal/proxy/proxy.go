// Package proxy carries one request from its body to its last byte: it asks
// routing for an endpoint, sends the attempt, holds the answer until it is worth
// committing to, moves on to the next endpoint when it is not, and relays it
// when it is.
//
// Invariants. The request body is read once and never changed. Nothing reaches
// the client before the commit, so until then every failure can be hidden; after
// the commit nothing is ever sent twice, and an answer that breaks off is passed
// on as broken. Every lease is released exactly once.
package proxy

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/transport"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// Recorder is told of every finished request. Record must not block.
type Recorder interface {
	Record(ledger.Entry)
}

// Settings are what a generation of the configuration says about forwarding.
type Settings struct {
	FirstContent time.Duration // a streaming attempt's time to its first content, at most; 0: no limit
	NonStreaming time.Duration // any other attempt's time to its answer's head; 0: no limit
	Idle         time.Duration // longest silence between two reads of an answer; 0: no limit
	Total        time.Duration // from the request to its first content, all attempts together; 0: no limit

	MaxAttempts     int           // at all endpoints together, at least 1
	MaxWait         time.Duration // for resting endpoints, in all
	BurstHold       time.Duration // for another request that is writing into a cache what this one begins with
	StreamKeepalive time.Duration // before a streaming client is told that somebody is there; 0: never
	Hedge           bool          // whether slow streaming requests are sent to a second endpoint too
	RetryPercent    int           // retries granted in proportion to requests
	RetryFloor      int           // retries granted in any case

	Prices *ledger.Prices // nil: nothing is priced
	Rules  verdict.Rules  // of the operator, on how to judge answers
	// PassCredentials lets a client's own credential go to servers that have none.
	PassCredentials bool
	// SharedResources lets every client key use what others created. SoleTenant is set if there is
	// only one key, or one group of keys, which may then use resources without a known owner.
	SharedResources, SoleTenant bool

	Dump *telemetry.Dump // nil unless debug is on
}

// Request is one client request, authenticated and read.
type Request struct {
	ID       string      // the balancer's name for it
	Client   string      // who asks, for the log
	Key      *quota.Key  // of the client, nil where none is asked for
	Book     *quota.Book // nil: nobody has limits
	Seat     *quota.Seat // seat of the request while its body was read
	HTTP     *http.Request
	Body     Body
	Upload   *Upload // in place of Body where that is passed on as it comes
	Start    time.Time
	Table    *routing.Table
	Settings *Settings
}

// Proxy serves requests. Safe for concurrent use.
type Proxy struct {
	log       *slog.Logger
	recorders []Recorder
	// Owners remembers which account keeps what stands behind an id. It may be replaced before the first request.
	Owners *routing.Owners
	// Resources maps ids to the client key that created them. It may be replaced before the first request.
	Resources *quota.Resources
	// Continuations maps responses that later requests may continue to the account that gave them.
	Continuations *routing.Continuations
	// Tracer follows requests, unless it is nil. It may be set before the first request.
	Tracer   Tracer
	buffers  buffers
	budget   retryBudget
	lists    modelLists
	journal  journal
	short    telemetry.Occasional // logs that there are no descriptors left
	scanners sync.Pool            // of *claude.PromptScanner
	identity []string             // the line of Accept-Encoding that all requests share
	seed     maphash.Seed         // of the names of bodies
}

// New makes a Proxy that tells every recorder of every finished request.
// Fingerprints are comparable among those who share the seed.
func New(log *slog.Logger, seed uint64, recorders ...Recorder) *Proxy {
	p := &Proxy{log: log, recorders: recorders, Owners: routing.NewOwners(), Resources: quota.NewResources(), Continuations: routing.NewContinuations(seed), short: telemetry.Occasional{Every: time.Minute}, seed: maphash.MakeSeed(), identity: []string{"identity"}}
	p.scanners.New = func() any { return &claude.PromptScanner{Seed: seed} }
	return p
}

// Serve answers one request and releases its body. It panics with http.ErrAbortHandler where an
// answer breaks off, which is net/http's way to cut the client's connection.
func (p *Proxy) Serve(w http.ResponseWriter, req Request) {
	defer req.Body.Release()
	scanner := p.scanners.Get().(*claude.PromptScanner)
	x := newExchange(p, w, req, scanner)
	defer x.forgetPrompt()
	p.journal.begin(&x.inFlight, &x.entry)
	defer x.finish()
	if x.pin.refusal != nil {
		x.refuse(x.pin.refusal)
		return
	}
	if x.pin.conflict[0] != "" {
		x.refuseConflict()
		return
	}
	x.keepAlive(req.Settings.StreamKeepalive)
	defer x.keepalive.end()
	if x.admit() {
		x.run()
	}
}

// exchange is one request on its way.
type exchange struct {
	p             *Proxy
	w             http.ResponseWriter
	req           Request
	ctx           context.Context // ends when the client leaves or the balancer stops
	requestKind   kind
	query         routing.Query
	leaseBuf      upstream.Lease // of the first attempt
	tried         routing.Tried
	pin           pin
	spans         RequestTrace // nil: nobody follows the request
	keepalive     keepalive
	writeDeadline writeDeadline
	reservation   *quota.Reservation    // of the client key's limits
	writeBy       time.Time             // the client has to take what is written
	traced        bool                  // the client asks for the trail
	conditional   bool                  // the client asks for a response only if it has changed
	shared        bool                  // the client's header is in use: the next attempt gets a copy
	marks         []string              // loop marks of the balancers that the request has passed
	credentials   transport.Credentials // the client's own, where they may go to upstreams
	admittedAt    time.Time             // from which the request may be served: what it waited for a slot is no upstream's fault
	entry         ledger.Entry
	trail         trail
	inFlight      inFlight
	scanner       *claude.PromptScanner // holds the prompt; nil once that is forgotten
	warmth        routing.Warmth        // what the account of the endpoint asked last holds of the prompt
	failures      []*attempt            // the failed attempts, in order
	timeoutCount  int                   // of them, waits that ran out
	cause         error                 // why the committed answer broke off
	batch         *batchBill            // set while batch results are relayed
	speed, geo    string                // in the request; the price depends on them
}

// forgetPrompt gives back what was known of the prompt.
func (x *exchange) forgetPrompt() {
	if x.scanner != nil {
		x.query.Prompt = nil
		x.p.scanners.Put(x.scanner)
		x.scanner = nil
	}
}

// newExchange reads the request's body; the scanner is in use until forgetPrompt.
func newExchange(p *Proxy, w http.ResponseWriter, req Request, scanner *claude.PromptScanner) *exchange {
	r := req.HTTP
	// What cannot be scanned is forwarded all the same: the upstream says best what is wrong with it.
	scan, prompt, problem := scanner.Scan(req.Body.bytes())
	x := &exchange{
		p: p, w: w, req: req, scanner: scanner, ctx: r.Context(), requestKind: kindOf(r.Method, r.URL.Path, scan.Stream, problem != nil || scan.StreamUnclear),
		speed: scan.Speed, geo: scan.InferenceGeo,
		entry: ledger.Entry{
			ID: req.ID, Start: req.Start, Client: req.Client, Session: claude.SessionID(r.Header, scan.UserID), Agent: claude.AgentID(r.Header), Sent: int64(req.Body.Len()),
			Method: r.Method, Path: claude.HideKeys(r.URL.Path), Model: scan.Model, Stream: scan.Stream,
		},
	}
	x.query = routing.Query{
		Subject:  upstream.Subject{Path: claude.PathClass(r.Method, r.URL.Path), Model: scan.Model, Variant: variantOf(r.Header, scan), Tenant: p.tenant(req), Body: p.bodyName(req.Body, prompt)}.Keyed(),
		Patience: req.Settings.MaxWait, Queue: req.Settings.queue(), Hold: req.Settings.BurstHold, LeaseBuf: &x.leaseBuf,
	}
	if r.Method == http.MethodPost && r.URL.Path == messagesPath {
		x.query.Prompt, x.query.MaxTokens = prompt, scan.MaxTokens
		x.entry.Prompt = ledger.OutlineOf(prompt)
		x.query.Conversation = claude.ConversationKey(r.Header, x.entry.Session, scan.Model, scanner.Seed)
		x.query.Session = x.entry.Session
		x.query.Compacted = r.Header.Get("X-Claude-Code-Context-Compacted") != ""
	}
	if x.isQuick() || x.query.Subject.Has(verdict.Fast) { // their clients have a faster alternative
		x.query.Patience, x.query.Queue = 0, 0
	}
	if p.Tracer != nil {
		x.spans = p.Tracer.Begin(r, &x.entry)
	}
	x.resolvePin(namedBy(prompt), problem == nil)
	x.follow(prompt)
	if x.pin.isResource && !x.pin.resource.Data || x.buffersForTenancy() {
		x.requestKind = kindResource
	}
	x.keepForwarded()
	return x
}

// variantOf returns the properties of a request that have separate limits.
func variantOf(h http.Header, scan claude.Request) verdict.Variant {
	var v verdict.Variant
	if scan.Speed == "fast" {
		v |= verdict.Fast
	}
	if claude.WantsLongContext(h, scan.Model) {
		v |= verdict.LongContext
	}
	return v
}

// bodyName names a body: the same for the same bytes. Where there is a prompt, its fingerprint has been taken anyway.
func (p *Proxy) bodyName(b Body, prompt *claude.Prompt) uint64 {
	if prompt == nil || len(prompt.Turns) == 0 {
		return maphash.Bytes(p.seed, b.bytes())
	}
	return prompt.Last().Fingerprint ^ uint64(b.Len())
}

// namedBy lists the ids that a prompt names.
func namedBy(p *claude.Prompt) []string {
	if p == nil {
		return nil
	}
	return p.IDs
}

// queue is how long a request waits for room in a rate limit: as long as its client will.
func (s *Settings) queue() time.Duration {
	const usual = 4 * time.Minute
	switch {
	case s.MaxWait <= 0:
		return 0
	case s.Total > 0:
		return s.Total
	}
	return usual
}

// tenant names the client's own credential where it is sent upstream, without revealing it.
func (p *Proxy) tenant(req Request) string {
	if !req.Settings.PassCredentials {
		return ""
	}
	h := req.HTTP.Header
	credential := h.Get("X-Api-Key") + " " + h.Get("Authorization")
	if credential == " " {
		return ""
	}
	return strconv.FormatUint(maphash.String(p.seed, credential), 36)
}

// settle teaches the endpoint the verdict and notes the attempt.
func (x *exchange) settle(a *attempt) {
	now := time.Now()
	a.lease.Settle(x.ctx, a.outcome, now)
	x.remember(a)
	x.addAttempt(a, now)
	x.account(a)
	if a.outcome.Scope == verdict.ScopeBalancer && x.p.short.Allow(now) {
		x.p.log.WarnContext(x.ctx, telemetry.NoDescriptors, telemetry.Needed, "connect", telemetry.Server, a.lease.Name())
	}
	x.trail.attempted(a, claude.ShortIDs(x.pin.known), now)
	if a.outcome.Failover() {
		x.p.log.InfoContext(x.ctx, telemetry.AttemptFailed, telemetry.ID, x.req.ID, telemetry.Server, a.lease.Name(),
			telemetry.Reason, a.outcome.Reason, telemetry.Scope, a.outcome.Scope.String(), telemetry.Duration, now.Sub(a.start).Round(time.Millisecond))
	}
}

// addAttempt adds an attempt to the entry of the request. It is not inlined: an attempt is large, and a copy of it
// in the frame of settle would enlarge the stack of every open stream.
//
//go:noinline
func (x *exchange) addAttempt(a *attempt, now time.Time) {
	status, upstreamID := 0, ""
	if a.res != nil {
		status, upstreamID = a.res.StatusCode, a.res.Header.Get("Request-Id")
	}
	a.place = len(x.entry.Attempts)
	x.entry.Attempts = append(x.entry.Attempts, ledger.Attempt{
		Server: a.lease.Name(), Status: status, Scope: a.outcome.Scope.String(), Reason: a.outcome.Reason, RequestID: upstreamID,
		Start: a.start, Verdict: now.Sub(a.start), Warm: a.warm.Cached, Warmest: a.warm.Most, Guess: a.warm.Total,
	})
}

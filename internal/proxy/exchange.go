package proxy

import (
	"context"
	"hash/maphash"
	"net/http"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// exchange is one request while it is served. State that only one moment of a request needs has a
// separate type, declared beside the code of that moment.
type exchange struct {
	p       *Proxy
	req     Request
	ctx     context.Context // ends when the client leaves or the balancer stops
	kind    kind            // of the expected response
	query   routing.Query
	scanner *claude.PromptScanner // holds the prompt; nil after forgetPrompt

	pin         pin                // admission: the account that keeps what the request names
	reservation *quota.Reservation // admission: what the budget of the client key has set aside
	admittedAt  time.Time          // Start plus the wait for a slot; Settings.Total counts from here
	outgoing    outgoing           // attempts: the client's header, prepared for upstreams
	attempts    attempts           // attempts: endpoints tried, and their failures
	keepalive   keepalive          // until the commit, and in pauses of the relay
	client      clientWriter       // commit and relay
	record                         // of all moments, for recorders
}

// record is what recorders, the log and the trail receive about a request.
type record struct {
	entry      ledger.Entry
	trail      trail
	inFlight   inFlight
	spans      RequestTrace // nil: the request is not traced
	speed, geo string       // of the request; prices depend on them
	batch      *batchBill   // set while the results of a batch are relayed
	cause      error        // why the committed response broke off
}

// newExchange scans the request's body. It takes a prompt scanner from the pool until forgetPrompt.
func newExchange(p *Proxy, w http.ResponseWriter, req Request) *exchange {
	r, scanner := req.HTTP, p.scanners.Get().(*claude.PromptScanner)
	// A body that cannot be scanned is forwarded all the same: the upstream's error describes the
	// mistake best.
	scan, prompt, problem := scanner.Scan(req.Body.bytes())
	x := &exchange{
		p: p, req: req, scanner: scanner, ctx: r.Context(), kind: kindOf(r.Method, r.URL.Path, scan.Stream, problem != nil || scan.StreamUnclear),
		client: clientWriter{w: w, http2: r.ProtoMajor == 2},
		record: record{
			speed: scan.Speed, geo: scan.InferenceGeo,
			entry: ledger.Entry{
				ID: req.ID, Start: req.Start, Client: req.Client, Session: claude.SessionID(r.Header, scan.UserID), Agent: claude.AgentID(r.Header), Sent: int64(req.Body.Len()),
				Method: r.Method, Path: claude.RedactKeys(r.URL.Path), Model: scan.Model, Stream: scan.Stream,
			},
		},
	}
	x.inFlight.written = &x.client.written
	x.query = routing.Query{
		ExplainPlaced: true,
		Subject:       upstream.Subject{Path: claude.PathClass(r.Method, r.URL.Path), Model: scan.Model, Variant: variantOf(r.Header, scan), Tenant: p.tenant(req), Body: p.bodyName(req.Body, prompt)}.WithKeys(),
		Patience:      req.Settings.MaxWait, Queue: req.Settings.queue(), Hold: req.Settings.BurstHold, LeaseBuf: &x.attempts.leaseBuf,
	}
	if r.Method == http.MethodPost && r.URL.Path == claude.MessagesPath {
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
		x.kind = kindResource
	}
	x.prepareOutgoing()
	return x
}

// forgetPrompt returns the prompt scanner to its pool. It does nothing if that has been done.
func (x *exchange) forgetPrompt() {
	if x.scanner != nil {
		x.query.Prompt = nil
		x.p.scanners.Put(x.scanner)
		x.scanner = nil
	}
}

// tokens estimates the input tokens of the request, as if none were cached: about four bytes each.
func (x *exchange) tokens() int64 { return int64(x.req.Body.textLen()) / 4 }

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

// bodyName returns a hash of a body. The fingerprint of a prompt, if there is one, is already
// known.
func (p *Proxy) bodyName(b Body, prompt *claude.Prompt) uint64 {
	if prompt == nil || len(prompt.Turns) == 0 {
		return maphash.Bytes(p.seed, b.bytes())
	}
	return prompt.Last().Fingerprint ^ uint64(b.Len())
}

// namedBy returns the ids that a prompt names.
func namedBy(p *claude.Prompt) []string {
	if p == nil {
		return nil
	}
	return p.IDs
}

// tenant returns a hash of the client's own credential if it is sent upstream, else "".
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

package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// commit is the point of no return: from here on the client sees this answer.
func (x *exchange) commit(a *attempt) {
	x.settleKind(a)
	x.settle(a)
	x.entry.Attempts[a.place].Served = true
	defer x.close(a)
	x.req.Body.Release() // nothing is sent again, and a stream may go on for long
	x.learn(a)
	x.forgetPrompt()
	x.rememberOwner(a)
	x.rememberKept(a)
	x.rememberContinuations(a)
	x.keepQuick(a)
	if !x.restrictList(a) {
		return
	}
	x.rewriteResultsURL(a)
	x.entry.Outcome, x.entry.Routed = ledger.Answered, x.routed(a)
	x.entry.TimeToFirstByte = time.Since(x.req.Start)
	if opened := x.keepalive.end(); !opened {
		x.writeHead(a)
	} else if !a.streams() {
		x.entry.Status = http.StatusOK
		x.tell(a.asError())
		return
	}
	x.forgetSent(a)
	broken := x.relay(a)
	x.account(a)
	a.lease.Produced(a.message.Usage.OutputTokens, time.Now())
	if broken == nil {
		x.req.Table.RecordOutput(&x.query, a.message.Usage.OutputTokens)
	}
	if broken != nil {
		x.breakOff(a, broken)
	}
	if a.message.Err != nil { // the upstream itself told the client, in its own words
		x.judge(a, a.message.Err, nil)
		x.charge(a, a.outcome)
	}
}

// routed says in a word why this endpoint was asked.
func (x *exchange) routed(a *attempt) ledger.Routed {
	switch {
	case x.pin.known != "":
		return ledger.Pinned
	case a.warm.Home:
		return ledger.Warm
	default:
		return ledger.Placed
	}
}

// streams says whether the answer is a stream of events that may follow a status 200.
func (a *attempt) streams() bool { return a.res.StatusCode == http.StatusOK && a.stream }

// learn takes from a good answer that its account has the prompt in its cache now,
// and from a stream the time to its first content.
func (x *exchange) learn(a *attempt) {
	if a.outcome.Scope != verdict.ScopeNone || !a.message.Started {
		return
	}
	now, u := time.Now(), a.message.Usage
	uncached := u.InputTokens + u.CacheCreationTokens()
	a.lease.Spend(uncached, now)
	x.req.Table.RecordCached(&x.query, a.lease.Endpoint, a.warm, u, a.start)
	if x.requestKind == kindStream {
		a.lease.Observe(now.Sub(a.start), uncached, now)
	}
}

// tell ends an answer that has been opened, but holds nothing yet, with an error event.
func (x *exchange) tell(e claude.Error) {
	x.entry.Status = http.StatusOK
	if err := x.write(e.AppendEvent(nil)); err == nil {
		_ = x.flush()
	}
}

// charge books a failure after the commit.
func (x *exchange) charge(a *attempt, o verdict.Outcome) {
	x.entry.Outcome = ledger.Truncated
	charged := &x.entry.Attempts[a.place]
	charged.Reason, charged.Scope = o.Reason, o.Scope.String()
	a.lease.Break(x.ctx, o, time.Now())
}

// writeHead sends the upstream's status and headers.
func (x *exchange) writeHead(a *attempt) {
	h := x.copyResponseHeader(a.res.Header)
	if a.decoded {
		h.Del("Content-Encoding")
		h.Del("Content-Length")
	}
	if x.requestKind == kindStream && a.streams() {
		h.Del("Content-Length") // if it breaks off, that is added
	}
	if a.complete && x.req.HTTP.Method != http.MethodHead && a.res.StatusCode != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(a.buffered)))
	}
	x.trace()
	x.entry.Status = a.res.StatusCode
	x.w.WriteHeader(a.res.StatusCode)
}

// breakOff tells the client that a committed answer is not whole, and never
// lets it look like a clean end.
func (x *exchange) breakOff(a *attempt, broken error) {
	err := a.explain(broken)
	if errors.Is(err, verdict.ErrClientGone) || errors.Is(broken, errClientWrite) {
		x.entry.Outcome = ledger.ClientGone
		x.cause = verdict.ErrClientGone
		panic(http.ErrAbortHandler)
	}
	x.cause = err
	o := verdict.Judge(verdict.Evidence{Err: err, Status: a.res.StatusCode, Now: time.Now()})
	x.charge(a, o)
	if x.requestKind == kindStream && a.stream && !a.partialEventSent {
		e := claude.Error{Type: claude.ErrAPI, Message: "The upstream broke off its answer (" + o.Reason + "): ask again.", RequestID: x.req.ID}
		x.write(e.AppendEvent(nil))
		x.flush()
	}
	panic(http.ErrAbortHandler)
}

// WriteError sends an error of our own in the shape of the Messages API and
// returns its status. A wait above 0 is asked for in whole seconds, 60 at most:
// Claude Code gives up at once on more.
func WriteError(w http.ResponseWriter, status int, wait time.Duration, e claude.Error) int {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if e.RequestID != "" && h.Get("Request-Id") == "" {
		h.Set("Request-Id", e.RequestID)
	}
	if wait > 0 {
		h.Set("Retry-After", seconds(wait))
	}
	if isFinal(status) && h.Get("X-Should-Retry") == "" {
		// Claude Code would try for minutes to get past a 401 or 403 before it shows the message.
		h.Set("X-Should-Retry", "false")
	}
	body := e.AppendJSON(nil)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
	return status
}

// isFinal reports whether a retry by the client would get the same error from the balancer.
func isFinal(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	}
	return http.StatusBadRequest <= status && status < http.StatusInternalServerError
}

// errClientWrite marks a failed write to the client.
var errClientWrite = errors.New("write to client")

func (x *exchange) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if x.overHTTP2() {
		x.writeDeadline.begin(x.w)
		defer x.writeDeadline.end()
	}
	n, err := x.w.Write(p)
	x.entry.Bytes += int64(n)
	x.inFlight.bytes.Add(int64(n))
	if err != nil {
		return errors.Join(errClientWrite, err)
	}
	return nil
}

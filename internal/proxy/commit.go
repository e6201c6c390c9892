package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/ledger"
	"claude-code-lb/internal/routing"
	"claude-code-lb/internal/telemetry"
	"claude-code-lb/internal/upstream"
)

const (
	// maxRetryAfter bounds the wait we ask for when every endpoint failed. The one closest to recovery
	// is asked at any time, so a client need not sit out a whole cooldown.
	maxRetryAfter = 10 * time.Second
	// noneEver is the wait we ask for when only the operator can help.
	noneEver = 60 * time.Second
)

// commit is the point of no return: from here on the client sees this answer.
func (x *exchange) commit(a *answer) {
	x.settle(a)
	defer a.close()
	x.entry.RequestID = a.res.Header.Get("Request-Id")
	x.writeHead(a)
	x.entry.Outcome = ledger.Answered
	broken := x.relay(a)
	x.entry.Message = a.message
	if broken != nil {
		x.breakOff(a, broken)
	}
	if a.message.Err != nil { // the upstream itself told the client, in its own words
		a.judge(a.message.Err, nil)
		x.charge(a, a.outcome)
	}
}

// charge books a failure after the commit.
func (x *exchange) charge(a *answer, o upstream.Outcome) {
	x.entry.Outcome = ledger.Truncated
	x.entry.Attempts[len(x.entry.Attempts)-1].Reason = o.Reason
	a.lease.Break(x.ctx, o, time.Now())
}

// writeHead sends the upstream's status and headers.
func (x *exchange) writeHead(a *answer) {
	h := x.w.Header()
	copyHeader(h, a.res.Header)
	if a.decoded {
		h.Del("Content-Encoding")
		h.Del("Content-Length")
	}
	if a.whole && x.req.HTTP.Method != http.MethodHead {
		h.Set("Content-Length", strconv.Itoa(len(a.held)))
	}
	x.entry.Status = a.res.StatusCode
	x.entry.TimeToFirstByte = time.Since(x.req.Start)
	x.w.WriteHeader(a.res.StatusCode)
}

// copyHeader fills dst with what of src is meant for the client.
func copyHeader(dst, src http.Header) {
	for name, values := range src {
		dst[name] = values
	}
	dropHopByHop(dst)
}

// breakOff tells the client that a committed answer is not whole, and never
// lets it look like a clean end.
func (x *exchange) breakOff(a *answer, broken error) {
	err := a.explain(broken)
	if errors.Is(err, upstream.ErrClientGone) || errors.Is(broken, errClientWrite) {
		x.entry.Outcome = ledger.ClientGone
		x.cause = upstream.ErrClientGone
		panic(http.ErrAbortHandler)
	}
	x.cause = err
	o := upstream.Judge(upstream.Evidence{Err: err, Now: time.Now()})
	x.charge(a, o)
	if x.kind == kindStream && a.isEventStream() && !a.torn {
		e := claude.Error{Type: claude.ErrAPI, Message: "The upstream broke off its answer (" + o.Reason + "): ask again.", RequestID: x.req.ID}
		x.write(e.AppendEvent(nil))
		x.flush()
	}
	panic(http.ErrAbortHandler)
}

// giveUp answers when no endpoint is left: with the last refusal an upstream
// gave, where there was one that concerns the client, else with an error of our own.
func (x *exchange) giveUp(unavailable error) {
	x.entry.Outcome = ledger.Failed
	a := x.refusal
	ours := a == nil || a.outcome.Scope == upstream.ScopeAccount && a.lease.HasToken()
	if !ours {
		x.entry.RequestID = a.res.Header.Get("Request-Id")
		x.writeRefusal(a)
		return
	}
	x.p.log.WarnContext(x.ctx, telemetry.NoUpstream, telemetry.ID, x.req.ID, telemetry.Attempts, len(x.entry.Attempts), telemetry.Err, unavailable)
	e, wait := x.ownError(unavailable)
	x.entry.Status = WriteError(x.w, http.StatusServiceUnavailable, wait, e)
}

// ownError words the failure of all upstreams.
func (x *exchange) ownError(unavailable error) (claude.Error, time.Duration) {
	e := claude.Error{Type: claude.ErrAPI, RequestID: x.req.ID}
	switch n := len(x.entry.Attempts); {
	case n == 0:
		e.Message = "No upstream takes new work: give a server a weight above 0 in the configuration of claude-code-lb."
		return e, noneEver
	case x.refusal != nil:
		e.Message = "Every upstream refused its credential: check the servers' tokens and accounts; the log of claude-code-lb has the details under this request id."
	default:
		e.Message = "Every upstream failed (" + strconv.Itoa(n) + " tried): try again in a moment; the log of claude-code-lb has the reasons under this request id."
	}
	wait := maxRetryAfter
	if u, ok := errors.AsType[*routing.Unavailable](unavailable); ok && u.RetryAfter > 0 {
		wait = min(wait, u.RetryAfter)
	}
	return e, wait
}

// writeRefusal passes on a refusal that was held whole. An error event inside a
// 200 becomes the plain error that it would have been a moment earlier.
func (x *exchange) writeRefusal(a *answer) {
	if a.res.StatusCode < http.StatusBadRequest {
		copyHeader(x.w.Header(), a.res.Header)
		for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding"} {
			x.w.Header().Del(name)
		}
		x.entry.Status = WriteError(x.w, claude.StatusForType(a.message.Err.Type), 0, *a.message.Err)
		return
	}
	a.whole = true
	x.writeHead(a)
	x.write(a.held)
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
		h.Set("Retry-After", strconv.Itoa(int(min((wait+time.Second-1)/time.Second, 60))))
	}
	body := e.AppendJSON(nil)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
	return status
}

// errClientWrite marks a failed write to the client.
var errClientWrite = errors.New("write to client")

func (x *exchange) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := x.w.Write(p)
	x.entry.Bytes += int64(n)
	if err != nil {
		return errors.Join(errClientWrite, err)
	}
	return nil
}

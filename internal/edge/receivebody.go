package edge

import (
	"errors"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/http1"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/quota"
)

// seatWait is how long a request waits to read its body while all slots of its key are taken.
const seatWait = time.Minute

// receiveBody reads the body of a request. If it returns false, it has sent an error. The caller
// must call Leave on the seat.
func (h *Handler) receiveBody(w http.ResponseWriter, s *Snapshot, asked *proxy.Request) (*quota.Seat, bool) {
	r := asked.HTTP
	seat, problem := h.takeSeat(s, asked)
	if problem != nil {
		h.refuseBody(w, asked, problem)
		return nil, false
	}
	body, problem := h.bodies.read(w, r, s.Limits, ownerOf(asked.Key, r, s.Proxies))
	if problem != nil {
		h.refuseBody(w, asked, problem)
		return seat, false
	}
	seat.BodyRead()
	asked.Body, problem = h.bodies.newBody(body, r.Header["Content-Encoding"], s.Limits.MaxBody)
	if problem != nil {
		h.refuseBody(w, asked, problem)
		return seat, false
	}
	s.Forward.Dump.Request(r.Context(), asked.ID, r, body.data)
	asked.Seat, asked.Start = seat, time.Now()
	return seat, true
}

// takeSeat counts a request with a body towards the concurrency limit of its key.
func (h *Handler) takeSeat(s *Snapshot, asked *proxy.Request) (*quota.Seat, *bodyProblem) {
	r := asked.HTTP
	if s.Book == nil || asked.Key == nil || r.ContentLength == 0 {
		return nil, nil
	}
	session := claude.SessionID(r.Header, "") + "\x00" + claude.AgentID(r.Header)
	seat, err := s.Book.BeginBody(r.Context(), asked.Key, session, time.Now().Add(seatWait))
	if refusal, ok := errors.AsType[*quota.Refusal](err); ok {
		return nil, &bodyProblem{refusal.Status, refusal.Type, refusal.Message}
	}
	if err != nil {
		return nil, &bodyProblem{http.StatusTooManyRequests, claude.ErrRateLimit,
			"All slots of this client key are taken, and as many requests are being read: try again in a moment."}
	}
	return seat, nil
}

// refuseBody sends the error for a body that was not accepted. If much of the body may still
// arrive, or arrives slowly, the connection ends, and the response says so: otherwise the client
// would send its next request over it. Over HTTP/2 only the stream ends.
func (h *Handler) refuseBody(w http.ResponseWriter, asked *proxy.Request, problem *bodyProblem) {
	r := asked.HTTP
	if r.ProtoMajor == 1 && (problem.status == http.StatusRequestTimeout || r.ContentLength < 0 || r.ContentLength > http1.MaxDrainBytes) {
		w.Header().Set("Connection", "close")
	}
	h.refuse(w, problem.status, problem.kind, asked.ID, problem.message)
}

// newBody makes a proxy.Body of the bytes that were read. A compressed body also gets a decoded
// copy, whose memory counts towards the bound.
func (p *bodyReader) newBody(l *pooledBody, contentEncoding []string, most int64) (proxy.Body, *bodyProblem) {
	done := func([]byte) { p.release(l) }
	if len(l.data) == 0 || !proxy.IsEncoded(contentEncoding) {
		return proxy.NewBody(l.data, done), nil
	}
	if p.decoders != nil { // a decoder uses up to 8 MB itself
		p.decoders <- struct{}{}
		defer func() { <-p.decoders }()
	}
	copied := &bodyMemory{owner: l.owner}
	text, err := proxy.DecodeRequest(l.data, contentEncoding, most, func(n int64) bool { return p.limiter.claimExtra(copied, n) })
	if err == nil {
		return proxy.NewEncodedBody(l.data, done, text, func() { p.limiter.releaseAll(copied) }), nil
	}
	p.limiter.releaseAll(copied)
	if refusal, ok := errors.AsType[*quota.Refusal](err); ok {
		return proxy.NewUnreadableBody(l.data, done, refusal), nil
	}
	p.release(l)
	return proxy.Body{}, errNoMemory()
}

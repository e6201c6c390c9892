package proxy

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/transport"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// isHopByHop says whether a header concerns one connection only (RFC 9110, section 7.6.1; the
// older names are still met). They are dropped in both directions.
func isHopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// outgoing is the state of the client's header on its way upstream.
type outgoing struct {
	marks       []string              // loop marks of the balancers that the request has passed
	credentials transport.Credentials // the client's own; zero unless they may go upstream
	conditional bool                  // the client asks for a response only if it has changed
	shared      bool                  // an attempt uses the client's header: the next attempt gets a copy
}

// keepEndToEnd takes out of a header what is not meant for the other side.
func keepEndToEnd(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	for name := range h {
		if isHopByHop(name) {
			delete(h, name)
		}
	}
}

// prepareOutgoing leaves in the client's header what goes to every upstream. It is called when everything else has been read there.
func (x *exchange) prepareOutgoing() {
	h := x.req.HTTP.Header
	x.trail.wanted, x.outgoing.shared = h.Get(traceHeader) == "1", x.req.Settings.Hedge
	x.outgoing.marks = transport.Marks(h)
	keepForUpstream(h)
	delete(h, "Content-Length")
	delete(h, "Expect") // the body is here already
	x.outgoing.credentials = transport.TakeCredentials(h)
	if u := x.req.HTTP.URL; u.RawQuery != "" {
		u.RawQuery = x.outgoing.credentials.CutFrom(u.RawQuery)
	}
	if !x.req.Settings.PassCredentials {
		x.outgoing.credentials = transport.Credentials{}
	}
	x.outgoing.conditional = isConditional(x.req.HTTP)
	if x.isQuick() { // a full response can be checked, and reused for later requests
		delete(h, "If-None-Match")
		delete(h, "If-Modified-Since")
	}
	if x.kind != kindOther || x.isBatchResults() {
		// Usage, errors and ids are read from these answers.
		h["Accept-Encoding"] = x.p.identity
	}
	if x.isBatchResults() {
		delete(h, "Range") // the balancer must see the complete response
	}
	if _, ok := h["Idempotency-Key"]; !ok && !x.pin.resource.Batch {
		// The mark lets the transport repeat the request once if a kept connection ends before any byte of
		// a response, because the server had closed it. The mark is not sent. Creating a batch is not
		// repeated: the batch could run twice.
		h["Idempotency-Key"] = nil
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // keeps net/http from adding its own
	}
}

// isBatchResults reports whether the request fetches the results of a batch, which contain its usage and its files.
func (x *exchange) isBatchResults() bool {
	r := x.pin.resource
	return r.Data && strings.HasPrefix(r.ID, "msgbatch_") && x.req.HTTP.Method == http.MethodGet
}

// newRequest builds an attempt's request from the client's.
func (x *exchange) newRequest(ctx context.Context, lease *upstream.Lease) *http.Request {
	in := x.req.HTTP
	h := in.Header
	if x.outgoing.shared { // with an attempt that may still be under way
		h = maps.Clone(h)
		transport.TakeCredentials(h) // that the first attempt has put there
	} else {
		x.outgoing.shared = true
	}
	if !lease.HasToken() {
		x.outgoing.credentials.Put(h)
	}
	lease.Mark(h, x.outgoing.marks)
	r := (&http.Request{
		Method: in.Method, URL: in.URL, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(x.req.Body.Len()), Body: http.NoBody,
	}).WithContext(ctx)
	if x.req.Upload != nil {
		r.Body, r.ContentLength = x.req.Upload, x.req.Upload.Length
		return r
	}
	if r.ContentLength > 0 {
		r.Body = x.req.Body.Reader()
		// Lets the transport turn to a fresh connection when an idle one proves dead before a byte was sent.
		r.GetBody = func() (io.ReadCloser, error) { return x.req.Body.Reader(), nil }
	}
	return r
}

// copyResponseHeader gives the client's answer the upstream's header, and returns what WriteHeader will send.
func (x *exchange) copyResponseHeader(upstream http.Header) http.Header {
	keepForClient(upstream)
	return useHeader(x.client.w, upstream)
}

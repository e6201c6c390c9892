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

// isHopByHop reports whether a header field concerns one connection only (RFC 9110, section 7.6.1;
// the older names are still in use). They are removed in both directions.
func isHopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// outgoing is the state of the client's header on its way upstream.
type outgoing struct {
	marks       []string                    // loop marks of the balancers that the request has passed
	credentials transport.ClientCredentials // the client's own; zero unless they may go upstream
	conditional bool                        // the client asks for a response only if it has changed
	shared      bool                        // an attempt uses the client's header: the next attempt gets a copy
}

// keepEndToEnd removes the fields that concern one connection only.
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

// prepareOutgoing reduces the client's header to what is sent to every upstream. Everything else
// must have been read before.
func (x *exchange) prepareOutgoing() {
	h := x.req.HTTP.Header
	x.trail.wanted, x.outgoing.shared = h.Get(traceHeader) == "1", x.req.Settings.Hedge
	x.outgoing.marks = transport.Marks(h)
	keepForUpstream(h)
	delete(h, "Content-Length")
	delete(h, "Expect") // the body has arrived already
	x.outgoing.credentials = transport.TakeCredentials(h)
	if u := x.req.HTTP.URL; u.RawQuery != "" {
		u.RawQuery = x.outgoing.credentials.StripQuery(u.RawQuery)
	}
	if !x.req.Settings.PassCredentials {
		x.outgoing.credentials = transport.ClientCredentials{}
	}
	x.outgoing.conditional = isConditional(x.req.HTTP)
	if x.isQuick() { // a full response can be checked, and reused for later requests
		delete(h, "If-None-Match")
		delete(h, "If-Modified-Since")
	}
	if x.kind != kindOther || x.isBatchResults() {
		// The balancer reads usage, errors and ids in these responses.
		h["Accept-Encoding"] = x.p.identity
	}
	if x.isBatchResults() {
		delete(h, "Range") // the balancer must see the complete response
	}
	if _, ok := h["Idempotency-Key"]; !ok && !x.pin.resource.Batch {
		// The mark lets the transport repeat the request once if a kept connection ends before any
		// byte of a response arrives, because then the server has closed it while idle. The mark is
		// not sent. The creation of a batch is not repeated, because the batch could run twice.
		h["Idempotency-Key"] = nil
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // keeps net/http from adding its own
	}
}

// isBatchResults reports whether the request fetches the results of a batch, which contain its
// usage and its files.
func (x *exchange) isBatchResults() bool {
	r := x.pin.resource
	return r.Data && strings.HasPrefix(r.ID, "msgbatch_") && x.req.HTTP.Method == http.MethodGet
}

// newRequest builds the request of an attempt from the client's.
func (x *exchange) newRequest(ctx context.Context, lease *upstream.Lease) *http.Request {
	in := x.req.HTTP
	h := in.Header
	if x.outgoing.shared { // an earlier attempt may still read it
		h = maps.Clone(h)
		transport.TakeCredentials(h) // of the earlier attempt
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
		// Lets the transport use a new connection if an idle one turns out to be dead.
		r.GetBody = func() (io.ReadCloser, error) { return x.req.Body.Reader(), nil }
	}
	return r
}

// copyResponseHeader gives the client's response the upstream's header, and returns what
// WriteHeader will send.
func (x *exchange) copyResponseHeader(upstream http.Header) http.Header {
	keepForClient(upstream)
	return useHeader(x.client.w, upstream)
}

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

// keepForwarded leaves in the client's header what goes to every upstream. It is called when everything else has been read there.
func (x *exchange) keepForwarded() {
	h := x.req.HTTP.Header
	x.traced, x.shared = h.Get(traceHeader) == "1", x.req.Settings.Hedge
	x.marks = transport.Marks(h)
	keepForUpstream(h)
	delete(h, "Content-Length")
	delete(h, "Expect") // the body is here already
	x.credentials = transport.TakeCredentials(h)
	if u := x.req.HTTP.URL; u.RawQuery != "" {
		u.RawQuery = x.credentials.CutFrom(u.RawQuery)
	}
	if !x.req.Settings.PassCredentials {
		x.credentials = transport.Credentials{}
	}
	x.conditional = isConditional(x.req.HTTP)
	if x.isQuick() { // a full response can be checked, and reused for later requests
		delete(h, "If-None-Match")
		delete(h, "If-Modified-Since")
	}
	if x.requestKind != kindOther || x.isBatchResults() {
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

// forgetSent lets go of what was sent upstream: it is not sent again, and a stream may go on for long.
func (x *exchange) forgetSent(a *attempt) {
	x.req.HTTP.Header, a.res.Request = nil, nil
}

// outgoing builds an attempt's request from the client's.
func (x *exchange) outgoing(ctx context.Context, lease *upstream.Lease) *http.Request {
	in := x.req.HTTP
	h := in.Header
	if x.shared { // with an attempt that may still be under way
		h = maps.Clone(h)
		transport.TakeCredentials(h) // that the first attempt has put there
	} else {
		x.shared = true
	}
	if !lease.HasToken() {
		x.credentials.Put(h)
	}
	lease.Mark(h, x.marks)
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
	if w, ok := x.w.(interface{ UseHeader(http.Header) }); ok {
		w.UseHeader(upstream)
		return upstream
	}
	h := x.w.Header()
	maps.Copy(h, upstream)
	return h
}

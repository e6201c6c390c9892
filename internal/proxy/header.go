package proxy

import (
	"context"
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"claude-code-lb/internal/upstream"
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

// passOn puts into dst what of src is meant for the other side. The lines are shared: nobody changes them.
func passOn(dst, src http.Header) {
	for name, lines := range src {
		if !isHopByHop(name) {
			dst[name] = lines
		}
	}
	for _, line := range src["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				dst.Del(name)
			}
		}
	}
}

// outgoing builds an attempt's request from the client's.
func (x *exchange) outgoing(ctx context.Context, lease *upstream.Lease) *http.Request {
	in := x.req.HTTP
	h := make(http.Header, len(in.Header)+2)
	passOn(h, in.Header)
	delete(h, "Content-Length")
	delete(h, "Expect") // the body is here already
	delete(h, traceHeader)
	if !x.req.Settings.PassCredentials || lease.HasToken() {
		upstream.DropCredentials(h)
	}
	if x.kind != kindOther {
		// Usage and errors are read from these answers.
		h["Accept-Encoding"] = []string{"identity"}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // keeps net/http from adding its own
	}
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

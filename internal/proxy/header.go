package proxy

import (
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"claude-code-lb/internal/upstream"
)

// hopByHop headers concern one connection only (RFC 9110, section 7.6.1; the
// older names are still met). They are dropped in both directions.
var hopByHop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

func dropHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
}

// outgoing builds an attempt's request from the client's.
func (x *exchange) outgoing(lease *upstream.Lease) *http.Request {
	in := x.req.HTTP
	h := in.Header.Clone()
	dropHopByHop(h)
	h.Del("Content-Length")
	h.Del("Expect") // the body is here already
	h.Del(traceHeader)
	if !x.req.Settings.PassCredentials || lease.HasToken() {
		upstream.DropCredentials(h)
	}
	if x.kind != kindOther {
		// Usage and errors are read from these answers.
		h.Set("Accept-Encoding", "identity")
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // keeps net/http from adding its own
	}
	r := &http.Request{
		Method: in.Method, URL: in.URL, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(x.req.Body.Len()), Body: http.NoBody,
	}
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

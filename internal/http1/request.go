package http1

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// refusal is the reason why a request cannot be served. The connection ends after it, because the
// start of the next request is not known.
type refusal struct {
	status int
	reason string
}

func badRequest(reason string) *refusal { return &refusal{http.StatusBadRequest, reason} }

// framing is how the end of a body is found.
type framing struct {
	length  int64 // bytes; -1: unknown
	chunked bool
	// untilClose means that the body ends with the connection.
	untilClose bool
}

// parseRequest parses a request header. The request has context ctx and shares no memory with
// header.
func parseRequest(ctx context.Context, header []byte) (*http.Request, framing, *refusal) {
	line, rest, err := cutStartLine(string(header), true)
	if err != nil {
		return nil, framing{}, badRequest(err.Error())
	}
	r, refused := parseRequestLine(ctx, line)
	if refused != nil {
		return nil, framing{}, refused
	}
	r.Header, err = parseFields(rest, true)
	switch {
	case errors.Is(err, errFieldCount):
		return nil, framing{}, &refusal{http.StatusRequestHeaderFieldsTooLarge, err.Error()}
	case err != nil:
		return nil, framing{}, badRequest(err.Error())
	}
	if refused := moveHost(r); refused != nil {
		return nil, framing{}, refused
	}
	f, refused := requestFraming(r)
	if refused != nil {
		return nil, framing{}, refused
	}
	if expect := r.Header["Expect"]; len(expect) > 0 && !expectsContinue(r) {
		return nil, framing{}, &refusal{http.StatusExpectationFailed, "an unknown expectation"}
	}
	r.Close = r.ProtoMinor == 0 || hasToken(r.Header["Connection"], "close")
	return r, f, nil
}

func expectsContinue(r *http.Request) bool {
	expect := r.Header["Expect"]
	return len(expect) == 1 && equalFold(expect[0], "100-continue")
}

func parseRequestLine(ctx context.Context, line string) (*http.Request, *refusal) {
	method, rest, ok := strings.Cut(line, " ")
	target, proto, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || !isToken(method) {
		return nil, badRequest("a malformed request line")
	}
	r := (&http.Request{Method: method, RequestURI: target, Proto: proto, ProtoMajor: 1}).WithContext(ctx)
	switch proto {
	case "HTTP/1.1":
		r.ProtoMinor = 1
	case "HTTP/1.0":
	default:
		if !isHTTPVersion(proto) {
			return nil, badRequest("a malformed request line")
		}
		return nil, &refusal{http.StatusHTTPVersionNotSupported, "an unsupported version of HTTP"}
	}
	if method == http.MethodConnect {
		return nil, &refusal{http.StatusMethodNotAllowed, "this is not a proxy for other hosts"}
	}
	if !isTarget(target) || target == "*" && method != http.MethodOptions {
		return nil, badRequest("a malformed target")
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || u.User != nil || u.Scheme != "" && (u.Host == "" || u.Opaque != "") {
		return nil, badRequest("a malformed target")
	}
	r.URL = u
	return r, nil
}

// isHTTPVersion reports whether s names a version of HTTP, supported or not.
func isHTTPVersion(s string) bool {
	return len(s) == len("HTTP/1.1") && s[:5] == "HTTP/" && isDigit(s[5]) && s[6] == '.' && isDigit(s[7])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isTarget reports whether s contains only bytes that are allowed in a request target.
func isTarget(s string) bool {
	return s != "" && isVisible(s) && (s[0] == '/' || s == "*" || hasScheme(s))
}

// isVisible reports whether s consists of visible ASCII characters, without blanks.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func hasScheme(s string) bool {
	return len(s) > 7 && equalFold(s[:7], "http://") || len(s) > 8 && equalFold(s[:8], "https://")
}

// moveHost moves the Host field to r.Host, as net/http does.
func moveHost(r *http.Request) *refusal {
	hosts := r.Header["Host"]
	switch {
	case len(hosts) > 1:
		return badRequest("more than one Host")
	case len(hosts) == 0 && r.ProtoMinor > 0:
		return badRequest("no Host")
	case len(hosts) == 1 && !isHost(hosts[0]):
		return badRequest("a malformed Host")
	case len(hosts) == 1:
		r.Host = hosts[0]
		delete(r.Header, "Host")
	}
	if r.URL.Host != "" {
		r.Host = r.URL.Host
	}
	return nil
}

// isHost reports whether s contains only bytes that are allowed in a Host field (RFC 3986, section
// 3.2.2).
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isTokenByte(c) && strings.IndexByte("(),:;=[]", c) < 0 || strings.IndexByte("#^`|", c) >= 0 {
			return false
		}
	}
	return true
}

// requestFraming determines the end of the body (RFC 9112, section 6.3). It removes
// Transfer-Encoding from the header, as net/http does.
func requestFraming(r *http.Request) (framing, *refusal) {
	codings, lengths := r.Header["Transfer-Encoding"], r.Header["Content-Length"]
	switch {
	case len(codings) > 0 && r.ProtoMinor == 0:
		return framing{}, badRequest("Transfer-Encoding in HTTP/1.0")
	case len(codings) > 1:
		return framing{}, &refusal{http.StatusNotImplemented, "more than one Transfer-Encoding"}
	case len(codings) == 1 && !equalFold(codings[0], "chunked"):
		return framing{}, &refusal{http.StatusNotImplemented, "a Transfer-Encoding other than chunked"}
	case len(codings) == 1 && len(lengths) > 0:
		return framing{}, badRequest("both Content-Length and Transfer-Encoding")
	case len(codings) == 1:
		delete(r.Header, "Transfer-Encoding")
		r.TransferEncoding, r.ContentLength = []string{"chunked"}, -1
		return framing{length: -1, chunked: true}, nil
	case len(lengths) > 1:
		return framing{}, badRequest("more than one Content-Length")
	case len(lengths) == 0:
		return framing{}, nil
	}
	n, ok := parseLength(lengths[0])
	if !ok {
		return framing{}, badRequest("a malformed Content-Length")
	}
	r.ContentLength = n
	return framing{length: n}, nil
}

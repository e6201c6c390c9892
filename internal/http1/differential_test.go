package http1_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stricterRequests maps the reasons for which our server refuses requests that net/http serves to
// the rule behind them.
var stricterRequests = map[string]string{
	"both Content-Length and Transfer-Encoding": bothLengths,
	"more than one Content-Length":              equalLengths,
	"Transfer-Encoding in HTTP/1.0":             oldChunked,
	"a header line does not end in CRLF":        bareLF,
	"a folded header line":                      folded,
	"an unsupported version of HTTP":            otherVersions,
	"a malformed target":                        oddTargets + ", and " + userInfo,
	"this is not a proxy for other hosts":       connects,
	"too many header lines":                     manyFields,
	"the header is too long":                    "up to 4 KB beyond the limit of a header",
	"an unknown expectation":                    "more than one Expect",
	"a malformed request line":                  emptyLines,
	"a malformed Content-Length":                "a Content-Length of 19 digits",
}

// FuzzServer feeds the same bytes to both servers. Every request that ours accepts, net/http must
// read as the same request, with the same body, at the same position. Ours may stop earlier for a
// reason in stricterRequests.
func FuzzServer(f *testing.F) {
	for _, a := range attacks() {
		if len(a.in) < 4<<10 {
			f.Add([]byte(a.in + canary))
		}
	}
	f.Add([]byte(stream()))
	f.Add([]byte(post("Expect: 100-continue\r\nContent-Length: 3", "abc") + "GET /b HTTP/1.0\r\nPragma: no-cache\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		synctest.Test(t, func(t *testing.T) {
			got, want := ours().send(t, string(in), nil), standard().send(t, string(in), nil)
			if problem := compareRequests(got, want); problem != "" {
				t.Errorf("%q: %s\n    ours: %s %s\nnet/http: %s", in, problem, got, got.reason(), want)
			}
			if again := ours().send(t, string(in), func(c *memConn) { c.out.maxRead = 1 }); again.String() != got.String() {
				t.Errorf("%q: byte by byte\n%s\nat once\n%s", in, again, got)
			}
		})
	})
}

// compareRequests describes where ours read something that net/http did not, or returns "".
func compareRequests(got, want exchange) string {
	if got.trailing != "" {
		return "the responses cannot be told apart"
	}
	for i, s := range got.seen {
		if i >= len(want.seen) {
			return "there are more requests"
		}
		if problem := compareRequest(s, want.seen[i]); problem != "" {
			return fmt.Sprintf("request %d: %s", i, problem)
		}
	}
	last := seen{}
	if n := len(got.seen); n > 0 {
		last = got.seen[n-1]
	}
	switch {
	case len(got.seen) == len(want.seen), last.Broken: // both end here
		return ""
	case last.Proto == "HTTP/1.0" && got.reason() == "": // keptAlive
		return ""
	case stricterRequests[got.reason()] == "":
		return fmt.Sprintf("refused without a reason that is known: %q", got.reason())
	}
	return ""
}

func compareRequest(got, want seen) string {
	comparable := func(s seen) string {
		s.Header = maps.Clone(s.Header)
		delete(s.Header, "Trailer") // net/http removes it
		if s.Header.Get("Pragma") == "no-cache" {
			delete(s.Header, "Cache-Control") // net/http adds it
		}
		s.Body, s.Broken = "", false
		return fmt.Sprintf("%+v", s)
	}
	switch a, b := comparable(got), comparable(want); {
	case a != b:
		return "ours saw " + a + ", net/http " + b
	case got.Broken: // chunkText: ours may have detected the malformed body earlier, or may have read further
		if !strings.HasPrefix(want.Body, got.Body) && !(want.Broken && strings.HasPrefix(got.Body, want.Body)) {
			return "the broken bodies differ"
		}
	case want.Broken:
		return "ours has a whole body"
	case got.Body != want.Body:
		return "the bodies differ"
	}
	return ""
}

// stricterResponses maps the errors of our transport for responses that net/http accepts to the
// rule behind them.
var stricterResponses = map[string]string{
	"malformed response: invalid status line":               "versions other than 1.0 and 1.1",
	"malformed response: invalid status code":               oddStatus,
	"malformed response: an upgrade that was not requested": "101",
	"malformed response: a chunked interim response":        "a chunked interim response",
	"malformed response: a folded header line":              foldedResponse,
	"malformed response: a malformed header name":           oddNames,
	"malformed response: too many header lines":             manyFields,
	"malformed response: invalid Content-Length":            "a Content-Length of 19 digits, or one that differs in blanks",
	"http1: the header is too long":                         "up to 4 KB beyond the limit of a header",
}

// FuzzTransport feeds the same response to both transports. Every response that ours accepts,
// net/http must read as the same response. Bytes that follow it must never become the response to
// the next request.
func FuzzTransport(f *testing.F) {
	for _, p := range append(replies(), publicReplies()...) {
		if len(p.raw) < 4<<10 {
			f.Add([]byte(p.raw), p.method == "HEAD", p.cut)
		}
	}
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), false, false)
	quiet(f)
	f.Fuzz(func(t *testing.T, raw []byte, head, cut bool) {
		synctest.Test(t, func(t *testing.T) {
			if problem, _ := compareFetches(t, string(raw), head, cut); problem != "" {
				t.Error(problem)
			}
		})
	})
}

// compareFetches reads a response with both transports. It returns what ours made of it.
func compareFetches(t *testing.T, raw string, head, cut bool) (problem string, got fetch) {
	got, want := fetchOnce(t, ours(), raw, head, cut), fetchOnce(t, standard(), raw, head, cut)
	bodiless := head || got.status == http.StatusNoContent || got.status == http.StatusNotModified
	if bodiless && got.header["Content-Length"] == nil { // two framings of a body that is not sent: net/http keeps the length
		want.length = got.length
		delete(want.header, "Content-Length")
	}
	if problem = compareResponses(got, want); problem != "" {
		problem = fmt.Sprintf("%q, HEAD %v, cut %v: %s\n    ours: %+v\nnet/http: %+v", raw, head, cut, problem, got, want)
	}
	return problem, got
}

// quiet stops net/http's Transport from logging unsolicited responses.
func quiet(tb testing.TB) {
	log.SetOutput(io.Discard)
	tb.Cleanup(func() { log.SetOutput(os.Stderr) })
}

// fetch is a response as a caller of RoundTrip received it.
type fetch struct {
	err    error
	status int
	header http.Header
	length int64
	body   string
	broken bool
	next   string // the next response, in the form of fetched
}

func fetchOnce(t *testing.T, e engine, raw string, head, cut bool) (got fetch) {
	u := &upstream{responses: []string{raw}, cut: cut}
	tr := e.transport(u.dial)
	defer u.over.Wait()
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := request(t, "GET", "http://h/", nil).WithContext(ctx)
	if head {
		r.Method = http.MethodHead
	}
	res, err := tr.RoundTrip(r)
	switch {
	case err != nil:
		got.err = err
	case res.StatusCode == http.StatusSwitchingProtocols: // net/http's body is the connection then, and need not end
		got = fetch{status: res.StatusCode}
		res.Body.Close()
	default:
		body, err := io.ReadAll(res.Body)
		got = fetch{status: res.StatusCode, header: res.Header, length: res.ContentLength, body: string(body), broken: err != nil}
		res.Body.Close()
	}
	if e.strict { // net/http detects surplus bytes on the connection only after a while
		got.next, _, _ = fetched(tr, request(t, "GET", "http://h/", nil))
	}
	return got
}

// compareResponses describes where ours received something that net/http did not, or returns "".
func compareResponses(got, want fetch) string {
	comparable := func(f fetch) string {
		for _, name := range []string{"Connection", "Trailer"} { // net/http removes them
			delete(f.header, name)
		}
		if f.header.Get("Pragma") == "no-cache" {
			delete(f.header, "Cache-Control") // net/http adds it
		}
		return fmt.Sprint(f.status, f.header, f.length)
	}
	switch {
	case got.next != "200 [calm]":
		return "the next response is " + got.next
	case got.err != nil && want.err == nil && stricterResponses[got.err.Error()] == "":
		return "ours fails without a reason that is known"
	case got.err != nil:
		return ""
	case want.err != nil:
		return "net/http fails"
	case comparable(got) != comparable(want):
		return "the heads differ"
	case got.broken && (strings.HasPrefix(want.body, got.body) || want.broken && strings.HasPrefix(got.body, want.body)):
		return ""
	case got.broken != want.broken || got.body != want.body:
		return "the bodies differ"
	}
	return ""
}

package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// upstream is a server that sends, for every complete request on a connection, the next of its
// responses verbatim.
type upstream struct {
	mu        sync.Mutex
	responses []string // to the first requests; later ones get the canary
	cut       bool     // the connection is closed after the first response
	dials     int
	conns     []net.Conn
	got       []*http.Request
	bodies    []string
	over      sync.WaitGroup
}

const (
	calm   = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ncalm" // the response to the request after an attack
	hidden = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL" // must never be taken for a response
)

func (u *upstream) dial(context.Context, string, string) (net.Conn, error) {
	client, end := memPair()
	u.mu.Lock()
	u.dials++
	u.conns = append(u.conns, end)
	u.mu.Unlock()
	u.over.Go(func() { u.serve(end) })
	return client, nil
}

func (u *upstream) serve(c net.Conn) {
	defer c.Close()
	for from := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(from)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		u.mu.Lock()
		n := len(u.got)
		u.got, u.bodies = append(u.got, r), append(u.bodies, string(body))
		text := calm
		if n < len(u.responses) {
			text = u.responses[n]
		}
		u.mu.Unlock()
		_, _ = io.WriteString(c, text)
		if n == 0 && u.cut {
			return
		}
	}
}

// dialled returns the number of connections.
func (u *upstream) dialled() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.dials
}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fetched returns a response in short form: "200 [body]", with a "!" if reading the body failed, or
// "error".
func fetched(tr transport, r *http.Request) (text string, res *http.Response, err error) {
	res, err = tr.RoundTrip(r)
	if err != nil {
		return "error", nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	text = fmt.Sprintf("%d [%s]", res.StatusCode, body)
	if err != nil {
		text += "!"
	}
	return text, res, err
}

// reply is what an upstream sends, and the required reaction of a client.
type reply struct {
	method string
	raw    string // its first response; surplus bytes stay in the connection
	cut    bool   // the upstream then closes the connection; otherwise the client must reuse or close it
	want   string // in the form of fetched
	reuse  bool   // the next request uses the same connection
	laxer  string // names the rule by which net/http accepts what ours refuses
}

func ok(fields, body string) string { return "HTTP/1.1 200 OK\r\n" + fields + "\r\n\r\n" + body }

const (
	oddStatus      = "status lines with few digits or odd versions"
	foldedResponse = "folded header lines in responses"
	oddNames       = "blanks in header names"
	laterKept      = "connections are kept after two framings of one body"
)

func replies() []reply {
	long := strings.Repeat("a", 3*headerLimit)
	return []reply{
		// Bodies with a length.
		{"GET", ok("Content-Length: 3", "abc"), false, "200 [abc]", true, ""},
		{"GET", ok("Content-Length: 0", ""), false, "200 []", true, ""},
		{"GET", ok("Content-Length: 03", "abc"), false, "200 [abc]", true, ""},
		{"GET", ok("Content-Length: 3", "abc"+hidden), false, "200 [abc]", false, ""},
		{"GET", ok("Content-Length: 0", hidden), false, "200 []", false, ""},
		{"GET", ok("Content-Length: 3", "abc\r\n"), false, "200 [abc]", false, ""},
		{"GET", ok("Content-Length: 4", "abc"), true, "200 [abc]!", false, ""},
		{"GET", ok("Content-Length: 4", ""), true, "200 []!", false, ""},
		{"GET", ok("Content-Length: 3\r\nContent-Length: 3", "abc"), false, "200 [abc]", true, ""},
		{"GET", ok("Content-Length: 3\r\nContent-Length: 2", "abc"), false, "error", false, ""},
		{"GET", ok("Content-Length: +3", "abc"), false, "error", false, ""},
		{"GET", ok("Content-Length: -3", "abc"), false, "error", false, ""},
		{"GET", ok("Content-Length: 3, 3", "abc"), false, "error", false, ""},
		{"GET", ok("Content-Length: 0x3", "abc"), false, "error", false, ""},
		{"GET", ok("Content-Length: 3a", "abc"), false, "error", false, ""},
		{"GET", ok("Content-Length:", "abc"), false, "error", false, ""},
		{"GET", ok("Content-Length: 99999999999999999999", "abc"), false, "error", false, ""},
		{"GET", ok("Content-Length: 3\r\nConnection: close", "abc"+hidden), false, "200 [abc]", false, ""},
		{"GET", ok("Content-Length: 3\r\nConnection: x, Close", "abc"), false, "200 [abc]", false, ""},
		{"GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, "200 [abc]", false, ""},

		// Chunked bodies.
		{"GET", ok("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"), false, "200 [abc]", true, ""},
		{"GET", ok("transfer-encoding: CHUNKED", "2;x=y\r\nab\r\n001\r\nc\r\n0\r\n\r\n"), false, "200 [abc]", true, ""},
		{"GET", ok("Transfer-Encoding: chunked", "0\r\n\r\n"), false, "200 []", true, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\nX: y\r\n\r\n"), false, "200 [abc]", true, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"+hidden), false, "200 [abc]", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3\r\nabc\r\n"), true, "200 [abc]!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n"), true, "200 [abc]!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3\r\nab"), true, "200 [ab]!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3"), true, "200 []!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", ""), true, "200 []!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "x\r\nabc\r\n0\r\n\r\n"+hidden), false, "200 []!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "-3\r\nabc\r\n0\r\n\r\n"), false, "200 []!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "10000000000000003\r\nabc\r\n0\r\n\r\n"), false, "200 []!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3\r\nabcd\r\n0\r\n\r\n"), false, "200 [abc]!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3\nabc\r\n0\r\n\r\n"), false, "200 []!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n"+strings.Repeat("X: y\r\n", 1<<17)+"\r\n"), true, "200 [abc]!", false, ""},
		{"GET", ok("Transfer-Encoding: chunked", "3;"+long+"\r\nabc\r\n0\r\n\r\n"), true, "200 []!", false, ""},

		// Both framings, or unknown ones.
		{"GET", ok("Content-Length: 40\r\nTransfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"), false, "200 [abc]", false, laterKept},
		{"GET", ok("Transfer-Encoding: chunked\r\nContent-Length: 3", "3\r\nabc\r\n0\r\n\r\n"+hidden), false, "200 [abc]", false, ""},
		{"GET", ok("Transfer-Encoding: chunked\r\nContent-Length: x", "3\r\nabc\r\n0\r\n\r\n"), false, "error", false, ""},
		{"GET", ok("Transfer-Encoding: gzip, chunked", "3\r\nabc\r\n0\r\n\r\n"), false, "error", false, ""},
		{"GET", ok("Transfer-Encoding: chunked, chunked", "3\r\nabc\r\n0\r\n\r\n"), false, "error", false, ""},
		{"GET", ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"), false, "error", false, ""},
		{"GET", ok("Transfer-Encoding: identity\r\nContent-Length: 3", "abc"), false, "error", false, ""},
		{"GET", ok("Transfer-Encoding: chun\u212Aed", "abc"), false, "error", false, ""},
		{"GET", ok("Transfer-Encoding:\x0bchunked", "abc"), false, "error", false, ""},
		{"GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true, "200 [3\r\nabc\r\n0\r\n\r\n]", false, ""},

		// Bodies that end with the connection.
		{"GET", ok("X: y", "abc"), true, "200 [abc]", false, ""},
		{"GET", ok("X: y", ""), true, "200 []", false, ""},
		{"GET", ok("X: y", hidden), true, "200 [" + hidden + "]", false, ""},
		{"GET", "HTTP/1.0 200 OK\r\n\r\nabc", true, "200 [abc]", false, ""},

		// No body, regardless of the header.
		{"HEAD", ok("Content-Length: 3", ""), false, "200 []", true, ""},
		{"HEAD", ok("Transfer-Encoding: chunked", ""), false, "200 []", true, ""},
		{"HEAD", ok("Transfer-Encoding: gzip", ""), false, "error", false, ""},
		{"HEAD", ok("Transfer-Encoding:", ""), false, "error", false, ""},
		{"HEAD", ok("Content-Length: 3", hidden), false, "200 []", false, ""},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n", false, "204 []", true, ""},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n" + hidden, false, "204 []", false, ""},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", false, "304 []", true, ""},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc", false, "304 []", false, ""},

		// Interim responses.
		{"GET", "HTTP/1.1 100 Continue\r\n\r\n" + ok("Content-Length: 3", "abc"), false, "200 [abc]", true, ""},
		{"GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok("Content-Length: 3", "abc"), false, "200 [abc]", true, ""},
		{"GET", "HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\n" + ok("Content-Length: 3", "abc"), false, "200 [abc]", true, ""},
		{"GET", "HTTP/1.1 100 Continue\r\nContent-Length: x\r\n\r\n" + ok("Content-Length: 3", "abc"), false, "error", false, ""},
		{"GET", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n" + ok("Content-Length: 3", "abc"), false, "error", false, "chunks"},
		{"GET", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100) + ok("Content-Length: 3", "abc"), false, "200 [abc]", true, ""},
		{"GET", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10_000) + ok("Content-Length: 3", "abc"), false, "error", false, ""},
		{"GET", "HTTP/1.1 100 Continue\r\n\r\n", true, "error", false, ""},

		// Status lines.
		{"GET", "HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", false, "200 [abc]", true, ""},
		{"GET", "HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\nabc", false, "200 [abc]", true, ""},
		{"GET", "HTTP/1.1 599 Whatever This Is\r\nContent-Length: 3\r\n\r\nabc", false, "599 [abc]", true, ""},
		{"GET", "", true, "error", false, ""},
		{"GET", "\r\n", true, "error", false, ""},
		{"GET", "HTTP/1.1 200 OK", true, "error", false, ""},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", true, "error", false, ""},
		{"GET", "HTTP/1.1\r\n\r\n", false, "error", false, ""},
		{"GET", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", false, "error", false, ""},
		{"GET", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", false, "error", false, ""},
		{"GET", "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n", false, "error", false, oddStatus},
		{"GET", "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n", false, "error", false, ""},
		{"GET", "HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n", false, "error", false, ""},
		{"GET", "HTTP/1.1 007 OK\r\nContent-Length: 0\r\n\r\n", false, "error", false, oddStatus},
		{"GET", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, "error", false, oddStatus},
		{"GET", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", false, "error", false, oddStatus},
		{"GET", "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", false, "error", false, oddStatus},
		{"GET", "http/1.1 200 OK\r\n\r\n", false, "error", false, ""},
		{"GET", "ICY 200 OK\r\n\r\n", false, "error", false, ""},
		{"GET", "<html>hello</html>\r\n\r\n", true, "error", false, ""},
		{"GET", "SSH-2.0-OpenSSH_9.6\r\n\r\n", true, "error", false, ""},
		{"GET", "\r\n" + ok("Content-Length: 3", "abc"), false, "error", false, ""},
		{"GET", "abc" + ok("Content-Length: 3", "abc"), false, "error", false, ""},

		// Header lines.
		{"GET", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", false, "200 [abc]", true, ""},
		{"GET", ok("X: y\r\n z\r\nContent-Length: 3", "abc"), false, "error", false, foldedResponse},
		{"GET", ok("X\r\nContent-Length: 3", "abc"), false, "error", false, ""},
		{"GET", ok(": y\r\nContent-Length: 3", "abc"), false, "error", false, ""},
		{"GET", ok("X(: y\r\nContent-Length: 3", "abc"), false, "error", false, ""},
		{"GET", ok("Content-Length : 3", "abc"), true, "error", false, oddNames},
		{"GET", ok("X Y: z\r\nContent-Length: 3", "abc"), false, "error", false, oddNames},
		{"GET", ok("X: a\rb\r\nContent-Length: 3", "abc"), false, "error", false, ""},
		{"GET", ok("X: a\x00b\r\nContent-Length: 3", "abc"), false, "error", false, ""},
		{"GET", ok("X: a\x16b\r\nContent-Length: 3", "abc"), false, "error", false, ""},
		{"GET", ok(" X: y\r\nContent-Length: 3", "abc"), false, "error", false, ""},
		{"GET", ok("X: "+long, "abc"), true, "error", false, ""},
		{"GET", ok(long+": x", "abc"), true, "error", false, ""},
		{"GET", ok(strings.Repeat("X: y\r\n", headerLimit)+"Z: z", "abc"), true, "error", false, ""},
		{"GET", "HTTP/1.1 200 " + long, true, "error", false, ""},
		{"GET", long, true, "error", false, ""},
	}
}

func (p reply) fetch(t *testing.T, e engine) (text string, reused bool, err error) {
	t.Helper()
	u := &upstream{responses: []string{p.raw}, cut: p.cut}
	tr := e.transport(u.dial)
	text, _, err = fetched(tr, request(t, p.method, "http://h/a", nil))
	if !e.strict {
		time.Sleep(time.Second) // net/http's connection detects surplus bytes by itself
	}
	if next, _, err := fetched(tr, request(t, "GET", "http://h/b", nil)); next != "200 [calm]" {
		t.Errorf("%.300q: the next request got %s, %v", p.raw, next, err)
	}
	reused = u.dialled() == 1
	tr.CloseIdleConnections()
	u.over.Wait()
	return text, reused, err
}

// TestReplies also fails if goroutines remain, and waits until all connections are closed.
func TestReplies(t *testing.T) {
	quiet(t)
	bubble(t, func(t *testing.T, e engine) {
		for _, p := range append(replies(), publicReplies()...) {
			text, reused, err := p.fetch(t, e)
			same := text == p.want && reused == p.reuse
			switch {
			case !same && (e.strict || p.laxer == ""):
				t.Errorf("%s %.300q\n got %s, reused: %v\nwant %s, reused: %v\n%v", p.method, p.raw, text, reused, p.want, p.reuse, err)
			case same && !e.strict && p.laxer != "":
				t.Errorf("%.300q: net/http is no longer laxer", p.raw)
			case e.strict && p.cut && strings.HasSuffix(text, "!") && strings.HasPrefix(p.raw, "HTTP/1.1") && len(p.raw) < 1<<10 && !errors.Is(err, io.ErrUnexpectedEOF):
				t.Errorf("%.300q: the body ended with %v", p.raw, err)
			}
		}
	})
}

package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/http1"
)

const headerLimit = 16 << 10 // MaxHeaderBytes in all tests

// server and transport are the methods that both engines have.
type server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

type transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// engine creates the servers and transports to be compared.
type engine struct {
	name      string
	strict    bool // it is ours, for which more is checked
	server    func(h http.Handler, fault func(string)) server
	transport func(dialer) transport
}

const (
	headerTimeout   = 2 * time.Second  // ReadHeaderTimeout
	idleTimeout     = 10 * time.Second // IdleTimeout of the server
	idleConnTimeout = 30 * time.Second // IdleConnTimeout of the transport
)

func ours() engine {
	return engine{
		name: "http1", strict: true,
		server: func(h http.Handler, fault func(string)) server {
			return &http1.Server{
				Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerLimit,
				OnError: func(err error) { fault(err.Error()) },
				Refusal: func(_ int, why string) (string, []byte) { return "text/plain", []byte(why) },
			}
		},
		transport: func(d dialer) transport {
			return &http1.Transport{
				DialContext: d, MaxIdleConns: 4, IdleConnTimeout: idleConnTimeout, MaxResponseHeaderBytes: headerLimit,
			}
		},
	}
}

func standard() engine {
	return engine{
		name: "net/http",
		server: func(h http.Handler, fault func(string)) server {
			return &http.Server{
				Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerLimit,
				ErrorLog: log.New(writerFunc(fault), "", 0), DisableGeneralOptionsHandler: true,
			}
		},
		transport: func(d dialer) transport {
			return &http.Transport{
				DialContext: d, MaxIdleConns: 4, IdleConnTimeout: idleConnTimeout, MaxResponseHeaderBytes: headerLimit,
				DisableCompression: true,
			}
		},
	}
}

type writerFunc func(string)

func (f writerFunc) Write(p []byte) (int, error) { f(string(p)); return len(p), nil }

// eachEngine runs a test with both engines. net/http has to meet the same requirements, unless the
// test states otherwise.
func eachEngine(t *testing.T, test func(*testing.T, engine)) {
	for _, e := range []engine{ours(), standard()} {
		t.Run(e.name, func(t *testing.T) { test(t, e) })
	}
}

// seen is a request as a handler received it.
type seen struct {
	Method, Target, Path, Query, Host, Proto string
	Header                                   http.Header
	Length                                   int64
	Body                                     string
	Broken                                   bool // reading the body failed
}

// String returns the request in short form: "POST /a [body]", with a "!" if the body was broken.
func (s seen) String() string {
	text := fmt.Sprintf("%s %s [%s]", s.Method, s.Target, s.Body)
	if s.Broken {
		text += "!"
	}
	return text
}

// recorder is a handler that records requests and responds with them.
type recorder struct {
	mu   sync.Mutex
	seen []seen
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s := seen{
		Method: r.Method, Target: r.RequestURI, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host, Proto: r.Proto,
		Header: r.Header.Clone(), Length: r.ContentLength, Body: string(body), Broken: err != nil,
	}
	rec.mu.Lock()
	rec.seen = append(rec.seen, s)
	rec.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s)
}

func (rec *recorder) all() []seen {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]seen(nil), rec.seen...)
}

// exchange is the result of the bytes that a client sent.
type exchange struct {
	seen     []seen
	answers  []parsedResponse
	trailing string // bytes of the server that do not form a response
}

type parsedResponse struct {
	status int
	header http.Header
	body   string
}

// String returns the requests in order, and then the status of a refusal.
func (x exchange) String() string {
	var parts []string
	for _, s := range x.seen {
		parts = append(parts, s.String())
	}
	for _, a := range x.answers[min(len(x.seen), len(x.answers)):] {
		parts = append(parts, fmt.Sprint(a.status))
	}
	if len(x.answers) < len(x.seen) {
		parts = append(parts, fmt.Sprintf("%d unanswered", len(x.seen)-len(x.answers)))
	}
	if x.trailing != "" {
		parts = append(parts, fmt.Sprintf("and %q", x.trailing))
	}
	return strings.Join(parts, ", ")
}

// reason returns the text of the refusal, or "".
func (x exchange) reason() string {
	if len(x.answers) <= len(x.seen) {
		return ""
	}
	return x.answers[len(x.answers)-1].body
}

// send starts a server of the engine, sends the bytes of a client that then half-closes the
// connection, and waits for the end of the connection. change may modify the client's end before
// that.
func (e engine) send(tb testing.TB, in string, change func(*memConn)) exchange {
	tb.Helper()
	client, end := memPair()
	if change != nil {
		change(client)
	}
	_, _ = client.Write([]byte(in))
	_ = client.CloseWrite()
	var rec recorder
	e.serveOne(tb, &rec, end)
	out, err := io.ReadAll(client)
	if err != nil {
		tb.Fatal(err)
	}
	x := exchange{seen: rec.all()}
	x.answers, x.trailing = parseResponses(out, x.seen)
	return x
}

// serveOne serves one connection, and waits for its end.
func (e engine) serveOne(tb testing.TB, h http.Handler, c net.Conn) {
	ended := make(chan struct{})
	told := &closeSignal{Conn: c, closed: ended}
	l := &oneConn{conn: told, ended: ended}
	if e.strict {
		l.conn = halfCloser{told} // otherwise net/http sleeps for half a second afterwards
	}
	s := e.server(h, func(text string) {
		if strings.Contains(text, "panic") {
			tb.Error(text)
		}
	})
	_ = s.Serve(l)
	_ = s.Close()
}

// oneConn is a listener with a single connection. It is closed when that has ended.
type oneConn struct {
	conn  net.Conn
	ended chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.ended
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return memAddr{} }

type closeSignal struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closeSignal) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

type halfCloser struct{ *closeSignal }

func (c halfCloser) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// parseResponses reads a server's bytes with net/http, which needs the requests to find the ends of
// the responses.
func parseResponses(out []byte, requests []seen) (answers []parsedResponse, rest string) {
	from := bufio.NewReader(bytes.NewReader(out))
	unread := func() string { b, _ := io.ReadAll(from); return string(b) }
	for i := 0; ; {
		if _, err := from.Peek(1); err != nil {
			return answers, ""
		}
		method := http.MethodGet
		if i < len(requests) {
			method = requests[i].Method
		}
		res, err := http.ReadResponse(from, &http.Request{Method: method})
		if err != nil {
			return answers, "unreadable: " + err.Error() + unread()
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return answers, "cut: " + string(body)
		}
		if res.StatusCode == http.StatusContinue {
			continue
		}
		answers = append(answers, parsedResponse{res.StatusCode, res.Header, string(body)})
		i++
	}
}

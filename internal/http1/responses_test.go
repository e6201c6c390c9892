package http1_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// raw serves what a client sends before it half-closes, with a handler, and returns all bytes that
// the client receives.
func (e engine) raw(t *testing.T, in string, h http.HandlerFunc) string {
	t.Helper()
	client, end := memPair()
	_, _ = client.Write([]byte(in))
	_ = client.CloseWrite()
	e.serveOne(t, h, end)
	out, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// first parses the first response to a request with the method, and returns the number of the
// following ones.
func first(t *testing.T, out, method string) (a parsedResponse, more int) {
	t.Helper()
	all, rest := parseResponses([]byte(out), []seen{{Method: method}})
	if len(all) == 0 || rest != "" {
		t.Fatalf("%q is not a response: %s", out, rest)
	}
	return all[0], len(all) - 1
}

func TestContinueIsSentWhenTheBodyIsRead(t *testing.T) {
	const interim = "HTTP/1.1 100 Continue\r\n\r\n"
	in := post("Expect: 100-continue\r\nContent-Length: 5", "hello")
	eachEngine(t, func(t *testing.T, e engine) {
		read := func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
		if out := e.raw(t, in, read); !strings.HasPrefix(out, interim) || strings.Count(out, interim) != 1 {
			t.Errorf("a handler that reads the body: the client got %q", out)
		}
		late := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403); read(w, r) }
		if out := e.raw(t, in, late); strings.Contains(out, interim) {
			t.Errorf("after the response comes %q", out)
		}
		old := strings.Replace(in, "HTTP/1.1", "HTTP/1.0", 1)
		if out := e.raw(t, old, read); strings.Contains(out, interim) {
			t.Errorf("an HTTP/1.0 client got %q", out)
		}
		ignore := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }
		out := e.raw(t, in+canary, ignore)
		if a, more := first(t, out, "POST"); a.status != 403 || more != 0 || strings.Contains(out, interim) {
			t.Errorf("a handler that does not read the body: the client got %q", out)
		}
		hidden := post("Expect: 100-continue\r\nContent-Length: 33", canary)
		if _, more := first(t, e.raw(t, hidden, ignore), "POST"); more != 0 {
			t.Error("a body without 100 Continue was served as a request")
		}
	})
}

func TestResponsesWithoutBody(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f := func(method string, status int, want error) {
			t.Helper()
			var got error
			out := e.raw(t, method+" /a HTTP/1.1\r\nHost: h\r\n\r\n"+canary, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/canary" {
					return
				}
				w.WriteHeader(status)
				_, got = w.Write([]byte("body"))
				w.(http.Flusher).Flush()
			})
			a, more := first(t, out, method)
			if a.status != status || more != 1 || a.body != "" || !errors.Is(got, want) {
				t.Errorf("%s %d: %q, error of the write: %v", method, status, out, got)
			}
			if status == 204 && (a.header.Get("Content-Length") != "" || a.header.Get("Transfer-Encoding") != "") {
				t.Errorf("a 204 has a length: %q", out)
			}
		}
		f("HEAD", 200, nil)
		f("HEAD", 404, nil)
		f("GET", 204, http.ErrBodyNotAllowed)
		f("GET", 304, http.ErrBodyNotAllowed)
	})
}

// TestSplitting uses values that would end their line and continue as a header or a response.
func TestSplitting(t *testing.T) {
	evil := []string{"a\r\nEvil: 1", "a\nEvil: 1", "a\rEvil: 1", "a\r\n\r\nEvil", "\r\nEvil", "a\r\n Evil"}
	names := []string{"Evil: 1\r\nX", "Evil\n", "Ev il", "Evil:", "", "Evil\x00", "Évil", "\r\nEvil"}
	eachEngine(t, func(t *testing.T, e engine) {
		f := func(set func(http.Header, string), values []string) {
			t.Helper()
			for _, v := range values {
				out := e.raw(t, get("Host: h\r\nConnection: close"), func(w http.ResponseWriter, _ *http.Request) { set(w.Header(), v) })
				head, _, _ := strings.Cut(out, "\r\n\r\n")
				for line := range strings.SplitSeq(head, "\r\n") {
					if strings.HasPrefix(line, "Ev") || strings.ContainsAny(line, "\r\n\x00") {
						t.Errorf("%q was received as %q", v, out)
					}
				}
				if _, more := first(t, out, "GET"); more != 0 {
					t.Errorf("%q makes another response: %q", v, out)
				}
			}
		}
		f(func(h http.Header, v string) { h.Set("X", v) }, evil)
		f(func(h http.Header, v string) { h["X"] = []string{"a", v, "b"} }, evil)
		f(func(h http.Header, v string) { h["Content-Type"] = []string{v} }, evil)
		f(func(h http.Header, v string) { h["Content-Length"] = []string{"0" + v} }, evil)
		f(func(h http.Header, v string) { h["Date"] = []string{v} }, evil)
		if e.strict { // net/http sends these unchanged
			f(func(h http.Header, v string) { h["X"] = []string{v} }, []string{"a\x00Evil", "\x00", "a\x01\x7f"})
			f(func(h http.Header, v string) { h["Connection"] = []string{v} }, evil)
			f(func(h http.Header, v string) { h["Transfer-Encoding"] = []string{v} }, evil)
		}
		f(func(h http.Header, v string) { h[v] = []string{"1"} }, names)
	})
}

func TestDeclaredLengths(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f := func(promised string, writes []string, wantBody string, wantErr error) {
			t.Helper()
			var last error
			out := e.raw(t, get("Host: h")+canary, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/canary" {
					return
				}
				w.Header().Set("Content-Length", promised)
				for _, text := range writes {
					_, last = w.Write([]byte(text))
				}
			})
			a, more := first(t, out, "GET")
			kept := more == 1 || wantErr != nil && !e.strict // net/http ends the connection if too much was written
			if a.body != wantBody || !kept || !errors.Is(last, wantErr) {
				t.Errorf("declared %s, written %q: %q, %v", promised, writes, out, last)
			}
		}
		f("5", []string{"hello"}, "hello", nil)
		f("5", []string{"he", "llo"}, "hello", nil)
		f("5", []string{"hello", "!"}, "hello", http.ErrContentLength)
		f("0", []string{"x"}, "", http.ErrContentLength)
		f("abc", []string{"hello"}, "hello", nil) // no declared length
		f("-1", []string{"hello"}, "hello", nil)
		if e.strict {
			f("+5", []string{"hello"}, "hello", nil)
		}

		out := e.raw(t, get("Host: h")+canary, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, "he")
		})
		if !strings.HasSuffix(out, "\r\n\r\nhe") {
			t.Errorf("too little written: the client takes the next response for the rest in %q", out)
		}
	})
}

// TestResponseFraming checks how the client finds the end of the body: by a length, by chunks, or
// for HTTP/1.0 by the end of the connection.
func TestResponseFraming(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		long := strings.Repeat("0123456789abcdef", 1<<10)
		write := func(flush bool, parts ...string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				for _, p := range parts {
					_, _ = io.WriteString(w, p)
					if flush {
						w.(http.Flusher).Flush()
					}
				}
			}
		}
		f := func(in string, h http.HandlerFunc, wantBody, wantLine string) {
			t.Helper()
			out := e.raw(t, in, h)
			a, _ := first(t, out, "GET")
			if a.body != wantBody || !strings.Contains(out, wantLine) {
				t.Errorf("%.200q", out)
			}
		}
		now, old := get("Host: h"), "GET /a HTTP/1.0\r\n\r\n"
		f(now, write(false), "", "Content-Length: 0\r\n")
		f(now, write(false, "a", "bc"), "abc", "Content-Length: 3\r\n")
		f(now, write(true, "a", "bc"), "abc", "Transfer-Encoding: chunked\r\n")
		f(now, write(true, "", "abc", ""), "abc", "Transfer-Encoding: chunked\r\n")
		f(now, write(false, long, long, "x"), long+long+"x", "Transfer-Encoding: chunked\r\n")
		f(now, write(true, "x", long, "y", long), "x"+long+"y"+long, "Transfer-Encoding: chunked\r\n")
		for n := 3800; n < 4200; n++ { // the end of a block falls near the end of the body
			f(now, write(false, long[:n], "y"), long[:n]+"y", "\r\n\r\n")
			f(now, write(false, "x", long[:n]), "x"+long[:n], "\r\n\r\n")
		}
		f(old, write(true, "a", "bc"), "abc", "")
		f(old, write(false, long), long, "")
		if out := e.raw(t, old, write(true, long)); strings.Contains(out, "chunked") || !strings.HasSuffix(out, "\r\n\r\n"+long) {
			t.Errorf("chunks for HTTP/1.0: %.200q", out)
		}
	})
}

func TestPanics(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f := func(fault any, begin, told bool) {
			t.Helper()
			var said []string
			client, end := memPair()
			_, _ = client.Write([]byte(get("Host: h") + canary))
			ended := make(chan struct{})
			s := e.server(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if begin {
					_, _ = io.WriteString(w, "begun")
					w.(http.Flusher).Flush()
				}
				panic(fault)
			}), func(text string) { said = append(said, text) })
			_ = s.Serve(&oneConn{conn: &closeSignal{Conn: end, closed: ended}, ended: ended})
			out, _ := io.ReadAll(client)
			all, _ := parseResponses(out, nil)
			if len(all) != 0 || begin != strings.Contains(string(out), "begun") {
				t.Errorf("panic %v: the client got %q", fault, out)
			}
			if got := strings.Contains(strings.Join(said, ""), "on purpose"); got != told || !told && len(said) > 0 {
				t.Errorf("panic %v: logged %q", fault, said)
			}
		}
		f("on purpose", false, true)
		f("on purpose", true, true)
		f(errors.New("on purpose"), true, true)
		f(http.ErrAbortHandler, false, false)
		f(http.ErrAbortHandler, true, false)
	})
}

// TestUnreadBodies: a small remainder is read so that the connection can be reused, a large one is
// not. Neither is taken for a request.
func TestUnreadBodies(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		f := func(in string, want string) {
			t.Helper()
			var got []string
			e.raw(t, in+canary, func(_ http.ResponseWriter, r *http.Request) {
				var some [3]byte
				n, _ := io.ReadFull(r.Body, some[:])
				got = append(got, r.URL.Path+string(some[:n]))
			})
			if fmt.Sprint(got) != want {
				t.Errorf("%.60q: served %q, want %s", in, got, want)
			}
		}
		nested := strings.Repeat(canary, 100)
		f(post(fmt.Sprintf("Content-Length: %d", 3+len(nested)), "abc"+nested), "[/aabc /canary]")
		f(chunks("3\r\nabc\r\n21\r\n"+canary+"\r\n0\r\n\r\n"), "[/aabc /canary]")
		f(chunks("3\r\nabc\r\nx\r\n"+canary), "[/aabc]")
		huge := strings.Repeat(canary, 1<<20/len(canary))
		f(post(fmt.Sprintf("Content-Length: %d", 3+len(huge)), "abc"+huge), "[/aabc]")
		f(chunks("3\r\nabc\r\n"+fmt.Sprintf("%x\r\n", len(huge))+huge+"\r\n0\r\n\r\n"), "[/aabc]")
	})
}

// TestGoroutinesThatOutliveTheirHandler must neither read the next request, nor write into its
// response, nor change its deadlines.
func TestGoroutinesThatOutliveTheirHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan error, 8)
		meddle := func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			if _, err := r.Body.Read(make([]byte, 100)); errors.Is(err, io.EOF) {
				late <- nil
			} else {
				late <- err
			}
			_, err := w.Write([]byte("evil"))
			late <- errors.Join(err, control.Flush())
			late <- control.SetReadDeadline(time.Now())
			late <- control.SetWriteDeadline(time.Now())
		}
		l := ours().start(t, func(w http.ResponseWriter, r *http.Request) { // net/http does not guarantee this
			if r.URL.Path == "/canary" {
				time.Sleep(2 * time.Second)
			}
			if r.Method == http.MethodGet {
				return
			}
			go func() {
				time.Sleep(time.Second) // no request is being served then
				meddle(w, r)
				time.Sleep(2 * time.Second) // the next request is being served then
				meddle(w, r)
			}()
		})
		c := l.dial(t)
		c.send(post("Content-Length: 3", "abc"))
		time.Sleep(2 * time.Second)
		c.send(canary)
		time.Sleep(3 * time.Second)
		c.send(get("Host: h\r\nConnection: close"))
		out, _ := io.ReadAll(c)
		if all, rest := parseResponses(out, nil); len(all) != 3 || rest != "" || strings.Contains(string(out), "evil") {
			t.Errorf("got %q", out)
		}
		for i := range cap(late) {
			if err := <-late; err == nil {
				t.Errorf("attempt %d succeeded", i)
			}
		}
	})
}

// TestManagedFields: handlers cannot set the fields that concern the connection.
func TestManagedFields(t *testing.T) {
	e := ours()
	names := []string{"Transfer-Encoding", "Keep-Alive", "Upgrade", "Trailer", "transfer-encoding", "content-length", "CONTENT-LENGTH"}
	out := e.raw(t, get("Host: h")+canary, func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range names {
			w.Header()[name] = []string{"7"}
		}
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "abc")
	})
	a, more := first(t, out, "GET")
	if a.body != "abc" || more != 0 || strings.Count(out, "Connection: close\r\n") != 1 || strings.Contains(out, "7\r\n") {
		t.Errorf("got %q", out)
	}
}

// start serves on an in-memory listener until the test ends.
func (e engine) start(t *testing.T, h http.HandlerFunc) *memListener {
	t.Helper()
	l := newMemListener()
	s := e.server(h, func(text string) { t.Log(text) })
	go s.Serve(l)
	t.Cleanup(func() { _ = s.Close() })
	return l
}

func (l *memListener) dial(t *testing.T) *memConn {
	t.Helper()
	c, err := l.connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (c *memConn) send(text string) { _, _ = c.Write([]byte(text)) }

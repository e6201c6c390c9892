package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// closeRecorder is a body that records that it was closed.
type closeRecorder struct {
	io.Reader
	closed chan struct{}
}

func watchBody(from io.Reader) *closeRecorder {
	return &closeRecorder{Reader: from, closed: make(chan struct{}, 10)}
}

func (w *closeRecorder) Close() error { w.closed <- struct{}{}; return nil }

// TestUnsafeRequestsAreRefused: requests that would be written as a different message fail before
// anything is sent, even before there is a connection.
func TestUnsafeRequestsAreRefused(t *testing.T) {
	f := func(strict bool, change func(*http.Request)) {
		t.Helper()
		bubble(t, func(t *testing.T, e engine) {
			if strict && !e.strict {
				return
			}
			u := &upstream{}
			tr := e.transport(u.dial)
			body := watchBody(strings.NewReader("abc"))
			r := request(t, "POST", "http://h/a", body)
			change(r)
			text, _, err := fetched(tr, r)
			if text != "error" || u.dialled() > 0 {
				t.Errorf("%s, %v after %d connections: got %+v", text, err, u.dialled(), u.got)
			}
			synctest.Wait()
			if len(body.closed) == 0 {
				t.Error("the body is not closed")
			}
			tr.CloseIdleConnections()
		})
	}
	for _, v := range []string{"a\r\nEvil: 1", "a\nEvil: 1", "a\rEvil: 1", "\n", "\x00", "a\x7f", "a\x01"} {
		f(false, func(r *http.Request) { r.Header.Set("X", v) })
		f(false, func(r *http.Request) { r.Header["X"] = []string{"a", v} })
		f(false, func(r *http.Request) { r.Header["Authorization"] = []string{v} })
		f(true, func(r *http.Request) { r.Host = "h" + v })
		f(true, func(r *http.Request) { r.Host, r.URL.Host = "", "h"+v })
		f(false, func(r *http.Request) { r.Method = "GET" + v })
		f(true, func(r *http.Request) { r.URL.RawQuery = v })
		f(true, func(r *http.Request) { r.URL.Opaque = "//h/" + v })
	}
	for _, n := range []string{"", "X\r\nEvil", "X\n", "X:", "X Y", " X", "X\x00", "X\x80", "É"} {
		f(false, func(r *http.Request) { r.Header[n] = []string{"x"} })
	}
	for _, m := range []string{"GET /evil HTTP/1.1\r\nX:", "GET ", " GET", "G\tET", "G\x00T", "GÉT", "GET\r\n\r\n"} {
		f(false, func(r *http.Request) { r.Method = m })
	}
	for _, h := range []string{"h evil", "h/evil", "h?evil", "evil@h", "h#", "h\"", "é", "h\t"} {
		f(true, func(r *http.Request) { r.Host = h })
	}
	f(true, func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1" })
	f(true, func(r *http.Request) { r.URL.RawQuery = "a\tb" })
	f(true, func(r *http.Request) { r.URL.RawQuery = "é" })
	f(true, func(r *http.Request) { r.URL.Opaque = "evil" })
	f(true, func(r *http.Request) { r.URL.Path = "evil" })
	f(false, func(r *http.Request) { r.URL.Host = "" })
	f(false, func(r *http.Request) { r.URL.Scheme = "ftp" })
	f(true, func(r *http.Request) { r.URL.Scheme = "https" }) // plain connections only
	f(false, func(r *http.Request) { r.URL = nil })
}

// TestWrittenRequests checks the bytes of requests.
func TestWrittenRequests(t *testing.T) {
	f := func(body io.Reader, change func(*http.Request), want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			d, _ := scripted(func(c *memConn, _ *bufio.Reader) {
				readRequest(bufio.NewReader(io.TeeReader(c, &out)))
				c.send(calm)
			})
			tr := ours().transport(d)
			r := request(t, "POST", "http://h:81/a%2Fb%20c?d=e%20f", body)
			change(r)
			if text, _, err := fetched(tr, r); text != "200 [calm]" {
				t.Error(text, err)
			}
			tr.CloseIdleConnections()
			if got := out.String(); got != want {
				t.Errorf("sent %q\nwant %q", got, want)
			}
		})
	}
	nothing := func(*http.Request) {}
	begin := "POST /a%2Fb%20c?d=e%20f HTTP/1.1\r\nHost: h:81\r\n"
	f(strings.NewReader("abc"), nothing, begin+"Content-Length: 3\r\n\r\nabc")
	f(nil, nothing, begin+"Content-Length: 0\r\n\r\n")
	f(http.NoBody, nothing, begin+"Content-Length: 0\r\n\r\n")
	f(io.MultiReader(strings.NewReader("abc")), nothing, begin+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	f(io.MultiReader(strings.NewReader("")), nothing, begin+"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f(nil, func(r *http.Request) { r.Method = "" }, strings.Replace(begin, "POST", "GET", 1)+"\r\n")
	f(nil, func(r *http.Request) { r.Host = "other" }, strings.Replace(begin, "h:81", "other", 1)+"Content-Length: 0\r\n\r\n")
	f(strings.NewReader("abc"), func(r *http.Request) { r.Header["X"] = []string{"a", "\tb\xff"} }, begin+"X: a\r\nX: \tb\xff\r\nContent-Length: 3\r\n\r\nabc")
	f(strings.NewReader("abc"), func(r *http.Request) { // a caller's header cannot contradict what the transport writes itself
		for name, v := range map[string]string{
			"Content-Length": "40", "Transfer-Encoding": "chunked", "Host": "evil", "Connection": "Upgrade", "Trailer": "X", "Upgrade": "x",
			"content-length": "41", "TRANSFER-ENCODING": "chunked", "host": "evil",
		} {
			r.Header[name] = []string{v}
		}
	}, begin+"Content-Length: 3\r\n\r\nabc")
	f(nil, func(r *http.Request) { r.Close = true }, begin+"Connection: close\r\nContent-Length: 0\r\n\r\n")
	f(nil, func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a b\r\nX: y", "" },
		strings.Replace(begin, "/a%2Fb%20c", "/a%20b%0D%0AX:%20y", 1)+"Content-Length: 0\r\n\r\n")
	f(nil, func(r *http.Request) { r.URL.RawPath = "/a%2Fb%20c\r\nX: y" }, // RawPath does not match Path, so the path is escaped
		strings.Replace(begin, "/a%2Fb%20c", "/a/b%20c", 1)+"Content-Length: 0\r\n\r\n")
}

// TestBrokenBodies: the server must not take a partial body for the whole.
func TestBrokenBodies(t *testing.T) {
	errBroken := errors.New("broken")
	f := func(size int, length int64, end error, want error) {
		t.Helper()
		bubble(t, func(t *testing.T, e engine) {
			u := &upstream{}
			tr := e.transport(u.dial)
			body := watchBody(io.MultiReader(strings.NewReader(strings.Repeat("a", size)), failing{end}))
			r := request(t, "POST", "http://h/", body)
			r.ContentLength = length
			_, _, err := fetched(tr, r)
			tooLong := length >= 0 && int64(size) > length // net/http notices this, if at all, after it has sent the declared length
			if (e.strict || !tooLong) && (err == nil || want != nil && !errors.Is(err, want)) {
				t.Errorf("%d bytes, %d declared, %v: sent with error %v", size, length, end, err)
			}
			synctest.Wait()
			if len(body.closed) == 0 {
				t.Errorf("%d bytes, %d declared, %v: the body is not closed", size, length, end)
			}
			tr.CloseIdleConnections()
			u.over.Wait()
			for i, got := range u.bodies {
				if e.strict || !tooLong {
					t.Errorf("%d bytes, %d declared, %v: the server received %d bytes in request %d", size, length, end, len(got), i)
				}
			}
		})
	}
	for _, unit := range []int{1, 10 << 10} {
		f(3*unit, int64(4*unit), io.EOF, nil)
		f(0, int64(4*unit), io.EOF, nil)
		f(3*unit, int64(4*unit), errBroken, errBroken)
		f(0, int64(4*unit), errBroken, errBroken)
		f(3*unit, -1, errBroken, errBroken)
		f(0, -1, errBroken, errBroken)
		f(5*unit, int64(4*unit), io.EOF, nil)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestResponsesBeforeTheBody: a server may refuse a body without reading it. Its response arrives,
// and the connection is not reused.
func TestResponsesBeforeTheBody(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		for _, closes := range []bool{false, true} {
			d, dials := scripted(func(c *memConn, from *bufio.Reader) {
				if _, err := http.ReadRequest(from); err != nil {
					return
				}
				c.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nabc")
				if !closes {
					time.Sleep(time.Minute) // and reads no more
				}
			}, respondToAll)
			tr := e.transport(func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := d(ctx, network, address)
				c.(*memConn).out.capacity = 4 << 10
				return c, err
			})
			body := watchBody(bytes.NewReader(make([]byte, 1<<20)))
			r := request(t, "POST", "http://h/", body)
			r.ContentLength = 1 << 20
			if text, _, err := fetched(tr, r); text != "413 [abc]" && (e.strict || !closes) { // net/http may prefer the error of the write
				t.Errorf("closing %v: %s, %v", closes, text, err)
			}
			synctest.Wait()
			if len(body.closed) == 0 {
				t.Errorf("closing %v: the body is not closed", closes)
			}
			if text, _, err := fetched(tr, request(t, "GET", "http://h/", nil)); text != "200 [calm]" || dials() != 2 {
				t.Errorf("closing %v: then %s, %v over connection %d", closes, text, err, dials())
			}
			tr.CloseIdleConnections()
			time.Sleep(time.Hour)
		}
	})
}

// TestReturnedResponses checks that the fields of responses are those that net/http sets.
func TestReturnedResponses(t *testing.T) {
	f := func(raw string, cut bool) {
		t.Helper()
		var got []string
		bubble(t, func(t *testing.T, e engine) {
			u := &upstream{responses: []string{raw}, cut: cut}
			tr := e.transport(u.dial)
			r := request(t, "GET", "http://h/", nil)
			_, res, err := fetched(tr, r)
			if err != nil || res.Request != r {
				t.Fatal(err)
			}
			res.Header.Del("Connection") // net/http has it only in Close
			got = append(got, fmt.Sprint(res.Status, res.StatusCode, res.Proto, res.ProtoMajor, res.ProtoMinor, res.Header,
				res.ContentLength, res.TransferEncoding, res.Close, res.Uncompressed))
			tr.CloseIdleConnections()
			u.over.Wait()
			time.Sleep(time.Second)
		})
		if len(slices.Compact(got)) != 1 {
			t.Errorf("%q:\n%s", raw, strings.Join(got, "\n"))
		}
	}
	f(ok("Content-Length: 3\r\nx-a: b\r\nX-A: c", "abc"), false)
	f(ok("Transfer-Encoding: chunked\r\nDate: x", "3\r\nabc\r\n0\r\n\r\n"), false)
	f(ok("Connection: close", "abc"), true)
	f("HTTP/1.0 200 Fine By Me\r\n\r\nabc", true)
	f("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", false)
	f("HTTP/1.1 204 No Content\r\nX:\r\n\r\n", false)
	f("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false)
	f(ok("Content-Encoding: gzip\r\nContent-Length: 3", "abc"), false)
}

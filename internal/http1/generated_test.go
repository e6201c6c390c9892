package http1_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
)

// generator combines message parts, most of them valid, in ways that byte mutations would hardly
// ever produce.
type generator struct {
	*rand.Rand
	first, fields, ends, bodies []string
}

func (m *generator) pick(of []string) string { return of[m.IntN(len(of))] }

func (m *generator) message() string {
	var b strings.Builder
	b.WriteString(m.pick(m.first) + m.pick(m.ends))
	for range m.IntN(5) {
		b.WriteString(m.pick(m.fields) + m.pick(m.ends))
	}
	b.WriteString(m.pick(m.ends) + m.pick(m.bodies))
	return b.String()
}

func (m *generator) messages() string {
	var b strings.Builder
	for range 1 + m.IntN(3) {
		b.WriteString(m.message())
	}
	return b.String()
}

func newGenerator(seed uint64, first []string, more ...string) *generator {
	return &generator{
		Rand:  rand.New(rand.NewPCG(seed, 0)),
		first: first,
		fields: append(more, "Content-Length: 3", "content-length: 3", "Content-Length: 0", "Content-Length:", "Content-Length: 33", "Content-Length: 3x",
			"Transfer-Encoding: chunked", "transfer-encoding: CHUNKED", "Transfer-Encoding: identity", "Transfer-Encoding:",
			"Transfer-Encoding: gzip, chunked", "Connection: close", "Connection: keep-alive", "Connection: x, y", "Trailer: X", "Pragma: no-cache",
			"X: y", "X: y", "X:", "X : y", "X", " y", "\ty", ": y", "X: a\x16", "X: a\x00", "X: \xff", "Expect: 100-continue", "Upgrade: h2c",
		),
		ends: []string{"\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\r\n\r\n", ""},
		bodies: []string{
			"", "", "abc", "abc", "abcd", "3\r\nabc\r\n0\r\n\r\n", "3;x=\"y\"\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\nT: u\r\n\r\n", "0\r\n\r\n", "0\r\n\n",
			"3\nabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "3 \r\nabc\r\n00\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nab", "-1\r\n", "\r\n", "\r\n\r\n",
			"3\r\nabc\r\n0\r\nT\r\n\r\n", "3\r\nabc\r\n0\r\nT: u\n\r\n", "fffffffffffffffff\r\n", "3;\x16\r\nabc\r\n0\r\n\r\n", "003\r\nabc\r\n0\r\n u\r\n\r\n",
		},
	}
}

// TestGeneratedRequests compares like FuzzServer.
func TestGeneratedRequests(t *testing.T) {
	m := newGenerator(1, []string{
		"GET /a HTTP/1.1\r\nHost: h", "POST /b HTTP/1.1\r\nHost: h", "POST /c HTTP/1.0", "HEAD /d HTTP/1.1\r\nHost: h", "PUT /e HTTP/1.1\r\nhost:h",
		"OPTIONS * HTTP/1.1\r\nHost: h", "GET http://o/f HTTP/1.1\r\nHost: h", "GET /g HTTP/1.1", "POST /h HTTP/1.1\r\nHost: h\r\nHost: h",
	}, "Host: h", "Expect: 100-continue", "Expect: x")
	synctest.Test(t, func(t *testing.T) {
		served := 0
		for range 3000 {
			in := m.messages()
			got, want := ours().send(t, in, nil), standard().send(t, in, nil)
			if problem := compareRequests(got, want); problem != "" {
				t.Errorf("%q: %s\n    ours: %s %s\nnet/http: %s", in, problem, got, got.reason(), want)
			}
			served += len(got.seen)
		}
		if served < 500 {
			t.Errorf("only %d requests were served: too few to be meaningful", served)
		}
	})
}

// TestGeneratedResponses compares like FuzzTransport.
func TestGeneratedResponses(t *testing.T) {
	quiet(t)
	m := newGenerator(2, []string{
		"HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 404 ", "HTTP/1.0 200 OK", "HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified",
		"HTTP/1.1 100 Continue", "HTTP/1.1 101 Switching Protocols", "HTTP/1.1 103", "HTTP/1.2 200 OK", "HTTP/1.1 600 x", "HTTP/1.1 20 OK",
	})
	synctest.Test(t, func(t *testing.T) {
		taken := 0
		for range 3000 {
			raw, head, cut := m.messages(), m.IntN(4) == 0, m.IntN(2) == 0
			problem, got := compareFetches(t, raw, head, cut)
			if problem != "" {
				t.Error(problem)
			}
			if got.err == nil {
				taken++
			}
		}
		if taken < 500 {
			t.Errorf("only %d responses were accepted: too few to be meaningful", taken)
		}
	})
}

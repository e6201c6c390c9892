package http1_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// framing has attacks on chunked bodies. A malformed body is detected when the handler reads it: it
// gets an error, and the connection ends.
func framing() []attack {
	last := "0\r\n\r\n"
	data := "POST /a [abc]" + served
	broken := "POST /a []!"
	cut := "POST /a [abc]!"
	return []attack{
		// Sizes.
		{chunks(last), "POST /a []" + served, ""},
		{chunks("1\r\na\r\n2\r\nbc\r\n" + last), data, ""},
		{chunks("003\r\nabc\r\n000\r\n\r\n"), data, ""},
		{chunks("0000000000000003\r\nabc\r\n" + last), data, ""},
		{chunks("a\r\n0123456789\r\nA\r\n0123456789\r\n" + last), "POST /a [01234567890123456789]" + served, ""},
		{chunks("1F\r\n" + strings.Repeat("x", 31) + "\r\n" + last), "POST /a [" + strings.Repeat("x", 31) + "]" + served, ""},
		{chunks("2000\r\n" + strings.Repeat("x", 0x2000) + "\r\n" + last), "POST /a [" + strings.Repeat("x", 0x2000) + "]" + served, ""},
		{chunks("\r\n" + last), broken, ""},
		{chunks("00000000000000003\r\nabc\r\n" + last), broken, ""},
		{chunks("10000000000000003\r\nabc\r\n" + last), broken, ""},
		{chunks("100000003\r\nabc\r\n" + last), "POST /a [abc\r\n" + last + canary + "]!", ""}, // not truncated to 32 bits
		{chunks("fffffffffffffffd\r\nabc\r\n" + last), broken, hugeSizes},
		{chunks("8000000000000003\r\nabc\r\n" + last), broken, hugeSizes},
		{chunks("-3\r\nabc\r\n" + last), broken, ""},
		{chunks("+3\r\nabc\r\n" + last), broken, ""},
		{chunks("0x3\r\nabc\r\n" + last), broken, ""},
		{chunks("3h\r\nabc\r\n" + last), broken, ""},
		{chunks("0_3\r\nabc\r\n" + last), broken, ""},
		{chunks("３\r\nabc\r\n" + last), broken, ""},
		{chunks("3,0\r\nabc\r\n" + last), broken, ""},
		{chunks("g\r\nabc\r\n" + last), broken, ""},
		{chunks("0 3\r\nabc\r\n" + last), broken, ""},
		{chunks(" 3\r\nabc\r\n" + last), broken, ""},
		{chunks("\t3\r\nabc\r\n" + last), broken, ""},
		{chunks("3 \r\nabc\r\n" + last), data, ""}, // some servers send such sizes
		{chunks("3\t \r\nabc\r\n" + last), data, ""},
		{chunks("3\x00\r\nabc\r\n" + last), broken, ""},
		{chunks("3\x0b\r\nabc\r\n" + last), broken, ""},

		// Extensions, which no server here uses.
		{chunks("3;a\r\nabc\r\n" + last), data, ""},
		{chunks("3;a=b;c=\"d e\"\r\nabc\r\n0;e\r\n\r\n"), data, ""},
		{chunks("3;a=\"\\\"\"\r\nabc\r\n" + last), data, ""},
		{chunks("3;\r\nabc\r\n" + last), data, ""},
		{chunks("3;a=\"\r\nabc\r\n" + last), data, ""}, // a quoted string contains no line end
		{chunks("3 ;a\r\nabc\r\n" + last), broken, ""},
		{chunks("3;a\nabc\r\n" + last), broken, ""},
		{chunks("3;a\rb\r\nabc\r\n" + last), broken, ""},
		{chunks("3;a\x00\r\nabc\r\n" + last), broken, chunkText},
		{chunks("3;" + strings.Repeat("a", 1<<20) + "\r\nabc\r\n" + last), broken, ""},

		// Line ends.
		{chunks("3\nabc\r\n" + last), broken, ""},
		{chunks("3\rabc\r\n" + last), broken, ""},
		{chunks("3\r\rabc\r\n" + last), broken, ""},
		{chunks("3\r\nabc" + last), cut, ""},
		{chunks("3\r\nabc\n" + last), cut, ""},
		{chunks("3\r\nabc\r" + last), cut, ""},
		{chunks("3\r\nabc\r\r\n" + last), cut, ""},
		{chunks("3\r\nabcd\r\n" + last), cut, ""},
		{chunks("3\r\nabc\n\n" + last), cut, ""},
		{chunks("2\r\nabc\r\n" + last), "POST /a [ab]!", ""},
		{chunks("3\r\nabc\r\n0\n\r\n"), cut, ""},
		{chunks("3\r\nabc\r\n0\r\n\n"), cut, bareLF},
		{chunks("3\r\nabc\r\n0\r\n\r\r\n"), cut, ""},
		{chunks("3\r\nabc\r\n0\r\n"), cut, ""}, // the canary is not a trailer
		{chunks("3\r\nabc\r\n0\r\n\r"), cut, ""},
		{chunks("3\r\nabc\r\n"), cut, ""},

		// Trailers, which are ignored.
		{chunks("3\r\nabc\r\n0\r\nX: y\r\n\r\n"), data, ""},
		{chunks("3\r\nabc\r\n0\r\nX: y\r\nZ:\r\n\r\n"), data, ""},
		{chunks("3\r\nabc\r\n0\r\nContent-Length: 33\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\r\n"), data, ""},
		{chunks("3\r\nabc\r\n0\r\nX\r\n\r\n"), cut, ""},
		{chunks("3\r\nabc\r\n0\r\n: y\r\n\r\n"), cut, ""},
		{chunks("3\r\nabc\r\n0\r\nX : y\r\n\r\n"), cut, chunkText},
		{chunks("3\r\nabc\r\n0\r\nX: y\n\r\n"), cut, bareLF},
		{chunks("3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n"), cut, folded},
		{chunks("3\r\nabc\r\n0\r\nX: \x00\r\n\r\n"), cut, ""},
		{chunks("3\r\nabc\r\n0\r\nX: " + strings.Repeat("a", 1<<10) + "\r\n\r\n"), data, ""},
		{chunks("3\r\nabc\r\n0\r\nX: " + strings.Repeat("a", 5<<10) + "\r\n\r\n"), cut, ""},
		{chunks("3\r\nabc\r\n0\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"), cut, ""},
		{chunks("3\r\nabc\r\n0\r\n" + strings.Repeat("X: y\r\n", 1<<17) + "\r\n"), cut, ""},
	}
}

// TestChunkOverheadIsBounded: framing that outweighs its data costs the reader more than the
// sender. It is bounded, but small chunks alone do not end a body.
func TestChunkOverheadIsBounded(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		f := func(chunk string, n int, want bool) {
			t.Helper()
			x := e.send(t, chunks(strings.Repeat(chunk, n)+"0\r\n\r\n"), nil)
			if len(x.seen) != 1 || x.seen[0].Broken == want || want && len(x.seen[0].Body) != n {
				t.Errorf("%d times %q: broken %v after %d bytes", n, chunk, x.seen[0].Broken, len(x.seen[0].Body))
			}
		}
		f("1\r\nx\r\n", 100_000, true)
		f("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 50, true)
		f("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 1000, false)
	})
}

// stream is a pipeline with all kinds of requests.
func stream() string {
	return "GET /1 HTTP/1.1\r\nHost: h\r\nX-Count: 1\r\n\r\n" +
		"POST /2?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\r\n" + // an empty line after it is tolerated
		"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n" +
		"HEAD /4 HTTP/1.1\r\nHost: h\r\n\r\n" +
		"PUT http://other/5 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi" +
		"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + canary
}

// TestPipeline sends requests without waiting for responses. Each gets its response, in order and
// with its own body, up to the one with "Connection: close".
func TestPipeline(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		x := e.send(t, stream(), nil)
		if got, want := x.String(), "GET /1 [], POST /2?q=1 [hello], POST /3 [abcde], HEAD /4 [], PUT http://other/5 [hi], OPTIONS * []"; got != want {
			t.Fatalf("got %s\nwant %s", got, want)
		}
		for i, a := range x.answers {
			if s := x.seen[i]; a.status != 200 || s.Method != "HEAD" && !strings.Contains(a.body, `"Target":"`+s.Target+`"`) {
				t.Errorf("%v got the response %d %s", s, a.status, a.body)
			}
		}
	})
}

// TestSplitAnywhere delivers the same bytes in two parts, split at every offset. The result must
// not change.
func TestSplitAnywhere(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		in := stream()
		want := e.send(t, in, nil)
		for i := range in {
			if got := e.send(t, in, func(c *memConn) { c.out.maxFirstRead = i }); got.String() != want.String() {
				t.Errorf("after %q\n got %s\nwant %s", in[:i], got, want)
			}
		}
	})
}

// TestCutAnywhere closes the connection at every offset. An incomplete request must not be served,
// and a partial body must not count as complete.
func TestCutAnywhere(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		in := stream()
		want := e.send(t, in, nil).seen
		for i := range in {
			got := e.send(t, in[:i], nil).seen
			for j, s := range got {
				if s.Broken && j == len(got)-1 && strings.HasPrefix(want[j].Body, s.Body) {
					continue
				}
				if j >= len(want) || fmt.Sprint(s) != fmt.Sprint(want[j]) {
					t.Errorf("after %q request %d is %v", in[:i], j, s)
				}
			}
		}
	})
}

// TestTrailersAreIgnored uses trailers that would change the handler's behaviour if they were
// headers.
func TestTrailersAreIgnored(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		in := post("Transfer-Encoding: chunked\r\nX: head", "1\r\na\r\n0\r\nX: tail\r\nAuthorization: evil\r\nHost: evil\r\n\r\n")
		x := e.send(t, in, nil)
		if len(x.seen) != 1 {
			t.Fatal(x)
		}
		if s := x.seen[0]; s.Host != "h" || len(s.Header) != 1 || !slices.Equal(s.Header["X"], []string{"head"}) {
			t.Errorf("the handler saw %+v", s)
		}
	})
}

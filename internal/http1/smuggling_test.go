package http1_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// attack is what a client sends, and the required reaction of a server.
type attack struct {
	in string
	// want is what handlers see, in the form of seen.String, and then the status of a refusal. The
	// test sends a canary request after it. The canary is served exactly if want says so: bytes of
	// the attack must neither swallow it nor form a request in front of it.
	want string
	// laxer names the rule by which net/http accepts what ours refuses; "" if both react alike.
	laxer string
}

const (
	canary = "GET /canary HTTP/1.1\r\nHost: h\r\n\r\n"
	served = ", GET /canary []"
)

// Where net/http is laxer. Its behaviour is not always wrong, but other servers read the
// same bytes differently.
const (
	bothLengths   = "Content-Length beside Transfer-Encoding"
	equalLengths  = "a repeated Content-Length"
	oldChunked    = "Transfer-Encoding in HTTP/1.0 is ignored"
	bareLF        = "lines that end in LF alone"
	folded        = "folded header lines"
	otherVersions = "versions of HTTP/1 that do not exist"
	oddTargets    = "targets that are neither a path nor a URL"
	connects      = "CONNECT"
	userInfo      = "credentials in a target"
	chunkText     = "invalid bytes in chunk framing"
	keptAlive     = "HTTP/1.0 with keep-alive"
	emptyLines    = "several empty lines between two requests"
	manyFields    = "thousands of header lines"
	hugeSizes     = "chunks beyond an int64"
)

func post(fields, body string) string {
	return "POST /a HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n\r\n" + body
}

func chunks(body string) string { return post("Transfer-Encoding: chunked", body) }

// smuggling has attacks on the end of a body: two readers that disagree about it see different
// requests.
func smuggling() []attack {
	hidden := "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
	return []attack{
		// Two contradictory lengths.
		{post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), "400", bothLengths},
		{post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"), "400", bothLengths},
		{post("Content-Length: 38\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+hidden), "400", bothLengths},
		{post("Transfer-Encoding: chunked\r\nContent-Length:", "0\r\n\r\n"), "400", ""},
		{post("Transfer-Encoding: identity\r\nContent-Length: 3", "abc"), "501", ""},
		{post("Content-Length: 3\r\nContent-Length: 3", "abc"), "400", equalLengths},
		{post("Content-Length: 3\r\ncontent-length: 3", "abc"), "400", equalLengths},
		{post("Content-Length: 3\r\nContent-Length: 4", "abcd"), "400", ""},
		{post("Content-Length: 0\r\nContent-Length: 33", hidden), "400", ""},
		{post("Content-Length: 33\r\nContent-Length: 0", hidden), "400", ""},
		{post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), "501", ""},

		// Content-Length must consist of digits.
		{post("Content-Length: 3", "abc"), "POST /a [abc]" + served, ""},
		{post("Content-Length:3", "abc"), "POST /a [abc]" + served, ""},
		{post("Content-Length:  \t3 \t", "abc"), "POST /a [abc]" + served, ""},
		{post("CONTENT-LENGTH: 3", "abc"), "POST /a [abc]" + served, ""},
		{post("Content-Length: 03", "abc"), "POST /a [abc]" + served, ""},
		{post("Content-Length: 0", ""), "POST /a []" + served, ""},
		{post("Content-Length: 33", hidden), "POST /a [" + hidden + "]" + served, ""},
		{post("Content-Length: +3", "abc"), "400", ""},
		{post("Content-Length: -1", "abc"), "400", ""},
		{post("Content-Length: -0", ""), "400", ""},
		{post("Content-Length: 3,3", "abc"), "400", ""},
		{post("Content-Length: 3, 3", "abc"), "400", ""},
		{post("Content-Length: 3 3", "abc"), "400", ""},
		{post("Content-Length: 3;a", "abc"), "400", ""},
		{post("Content-Length: 3.0", "abc"), "400", ""},
		{post("Content-Length: 3e0", "abc"), "400", ""},
		{post("Content-Length: 0x3", "abc"), "400", ""},
		{post("Content-Length: 1_0", "0123456789"), "400", ""},
		{post("Content-Length: \"3\"", "abc"), "400", ""},
		{post("Content-Length: ３", "abc"), "400", ""},
		{post("Content-Length:", "abc"), "400", ""},
		{post("Content-Length: \x0b3", "abc"), "400", ""},
		{post("Content-Length: 3\x00", "abc"), "400", ""},
		{post("Content-Length: 18446744073709551619", "abc"), "400", ""}, // 2^64 + 3
		{post("Content-Length: 9223372036854775808", "abc"), "400", ""},
		{post("Content-Length: "+strings.Repeat("0", 4000)+"x", "abc"), "400", ""},
		{post("Content_Length: 34", hidden), "POST /a [], GET /hidden []" + served, ""}, // another field name

		// Transfer-Encoding must be chunked, and nothing else.
		{chunks("3\r\nabc\r\n0\r\n\r\n"), "POST /a [abc]" + served, ""},
		{post("transfer-encoding: CHUNKED", "3\r\nabc\r\n0\r\n\r\n"), "POST /a [abc]" + served, ""},
		{post("Transfer-Encoding:\tchunked\t ", "3\r\nabc\r\n0\r\n\r\n"), "POST /a [abc]" + served, ""},
		{post("Transfer-Encoding: identity", hidden), "501", ""},
		{post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chunked, gzip", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chunked, identity", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chunked,", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: ,chunked", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chunked;q=1", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: xchunked", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chunkedx", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: \"chunked\"", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chun ked", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chunked\u00a0", "0\r\n\r\n"), "501", ""},
		{post("Transfer-Encoding: chun\u212Aed", "0\r\n\r\n"), "501", ""}, // the Kelvin sign folds to a k
		{post("Transfer-Encoding:", hidden), "501", ""},
		{post("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"), "400", ""},
		{post("Transfer-Encoding: chunked\x0b", "0\r\n\r\n"), "400", ""},
		{post("Transfer-Encoding: chunked\x00", "0\r\n\r\n"), "400", ""},
		{post("Transfer-Encoding: \rchunked", "0\r\n\r\n"), "400", ""},
		{post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"), "400", folded},
		{post("Transfer-Encoding:\n chunked", "0\r\n\r\n"), "400", folded},
		{post("Transfer-Encoding : chunked", "0\r\n\r\n"), "400", ""},
		{post("Transfer-Encoding\t: chunked", "0\r\n\r\n"), "400", ""},
		{post(" Transfer-Encoding: chunked", "0\r\n\r\n"), "400", ""}, // as a folded line it belongs to Host
		{post("X: y\r\n\tTransfer-Encoding: chunked", ""), "400", folded},
		{post("Transfer-Encoding\x00: chunked", "0\r\n\r\n"), "400", ""},
		{post("\x0bTransfer-Encoding: chunked", "0\r\n\r\n"), "400", ""},
		{post("X: y\rTransfer-Encoding: chunked", "0\r\n\r\n"), "400", ""},
		{post("X: y\nTransfer-Encoding: chunked", "0\r\n\r\n"), "400", bareLF},
		{post("Foo\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), "400", ""},
		{post("Transfer_Encoding: chunked\r\nContent-Length: 3", "abc"), "POST /a [abc]" + served, ""}, // another field name
		{"POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", oldChunked},
		{"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", "400", oldChunked},

		// The length is independent of the method.
		{"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\n" + hidden, "GET /a [" + hidden + "]" + served, ""},
		{"HEAD /a HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\n" + hidden, "HEAD /a [" + hidden + "]" + served, ""},
		{"DELETE /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "DELETE /a [x]" + served, ""},
		{"POST /a HTTP/1.1\r\nHost: h\r\n\r\n" + hidden, "POST /a [], GET /hidden []" + served, ""},
		{"POST /a HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "POST /a [abc]", ""},
		{"POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", "POST /a [abc]", ""},

		// Fields in which other servers accept a target, a method or a connection option. They have
		// no effect here.
		{"GET /a HTTP/1.1\r\nHost: h\r\nX-HTTP-Method-Override: DELETE\r\nX-Original-URL: /b\r\n\r\n", "GET /a []" + served, ""},
		{"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "GET /a []" + served, ""},
		{"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", "GET /a []" + served, ""},
		{"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Content-Length\r\nContent-Length: 3\r\n\r\nabc", "GET /a [abc]" + served, ""},
	}
}

// attacks returns all attacks, whose result must not depend on how their bytes arrive.
func attacks() []attack {
	return concat(smuggling(), framing(), requestLines(), headerLines(), publicRequests())
}

func concat(tables ...[]attack) (all []attack) {
	for _, t := range tables {
		all = append(all, t...)
	}
	return all
}

// check compares the result of an engine with the wanted one.
func (a attack) check(t *testing.T, e engine, x exchange) {
	t.Helper()
	if got := x.String(); got != a.want && (e.strict || a.laxer == "") {
		t.Errorf("%q\n got %s\nwant %s\n%s", a.in, got, a.want, x.reason())
	} else if got == a.want && !e.strict && a.laxer != "" {
		t.Errorf("%q: net/http is no longer laxer", a.in)
	}
}

func TestAttacks(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		synctest.Test(t, func(t *testing.T) { // for the pause after a refusal
			for _, a := range attacks() {
				a.check(t, e, e.send(t, a.in+canary, nil))
			}
		})
	})
}

func TestAttacksByteByByte(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		synctest.Test(t, func(t *testing.T) {
			for _, a := range attacks() {
				a.check(t, e, e.send(t, a.in+canary, func(c *memConn) { c.out.maxRead = 1 }))
			}
		})
	})
}

// TestRefusedConnectionsEnd: a client that is refused and does not close the connection must not
// keep it open for long.
func TestRefusedConnectionsEnd(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for _, a := range attacks() {
			switch {
			case a.laxer != "" && !e.strict, strings.HasSuffix(a.want, served):
				continue
			case strings.Contains(a.want, canary): // an incomplete body: its handler may wait
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				client, end := memPair()
				_, _ = client.Write([]byte(a.in + canary))
				go e.serveOne(t, &recorder{}, end)
				time.Sleep(time.Second)
				synctest.Wait()
				if !client.peerClosed() {
					t.Errorf("%q: the connection is still open", a.in)
				}
				client.Close()
			})
		}
	})
}

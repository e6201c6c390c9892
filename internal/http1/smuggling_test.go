package http1_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// attack is what a client sends, and what a server must make of it.
type attack struct {
	in string
	// want is what handlers see, as seen.String has it, and then the status of a refusal. After it follows a canary, which is
	// served exactly when it is a request of its own: if bytes of the attack swallow it or come to life in front of it, that shows.
	want string
	// laxer names how net/http accepts what ours refuses; "" if both do the same.
	laxer string
}

const (
	canary = "GET /canary HTTP/1.1\r\nHost: h\r\n\r\n"
	served = ", GET /canary []"
)

// Where net/http is laxer. What it accepts here is not always wrong, but other servers read the same bytes in another way.
const (
	bothLengths   = "Content-Length beside Transfer-Encoding"
	equalLengths  = "Content-Length said twice"
	oldChunked    = "Transfer-Encoding in HTTP/1.0 is passed over"
	bareLF        = "lines that end in LF alone"
	folded        = "folded header lines"
	otherVersions = "versions of HTTP/1 that do not exist"
	oddTargets    = "targets that are no path and no URL"
	connects      = "CONNECT"
	userInfo      = "credentials in a target"
	chunkText     = "bytes that have no place in a chunk's frame"
	keptAlive     = "HTTP/1.0 with keep-alive"
	emptyLines    = "several empty lines between two requests"
	manyFields    = "thousands of header lines"
	hugeSizes     = "chunks beyond an int64"
)

func post(fields, body string) string {
	return "POST /a HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n\r\n" + body
}

func chunks(body string) string { return post("Transfer-Encoding: chunked", body) }

// smuggling is about where a body ends: whoever reads that differently from the relay in front finds another request in it.
func smuggling() []attack {
	hidden := "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
	return []attack{
		// Two answers to one question.
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

		// Content-Length is digits.
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
		{post("Content_Length: 34", hidden), "POST /a [], GET /hidden []" + served, ""}, // another name

		// Transfer-Encoding is chunked, and nothing else.
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
		{post(" Transfer-Encoding: chunked", "0\r\n\r\n"), "400", ""}, // folded, it is part of Host
		{post("X: y\r\n\tTransfer-Encoding: chunked", ""), "400", folded},
		{post("Transfer-Encoding\x00: chunked", "0\r\n\r\n"), "400", ""},
		{post("\x0bTransfer-Encoding: chunked", "0\r\n\r\n"), "400", ""},
		{post("X: y\rTransfer-Encoding: chunked", "0\r\n\r\n"), "400", ""},
		{post("X: y\nTransfer-Encoding: chunked", "0\r\n\r\n"), "400", bareLF},
		{post("Foo\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), "400", ""},
		{post("Transfer_Encoding: chunked\r\nContent-Length: 3", "abc"), "POST /a [abc]" + served, ""}, // another name
		{"POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", oldChunked},
		{"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", "400", oldChunked},

		// A length does not depend on the method.
		{"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\n" + hidden, "GET /a [" + hidden + "]" + served, ""},
		{"HEAD /a HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\n" + hidden, "HEAD /a [" + hidden + "]" + served, ""},
		{"DELETE /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "DELETE /a [x]" + served, ""},
		{"POST /a HTTP/1.1\r\nHost: h\r\n\r\n" + hidden, "POST /a [], GET /hidden []" + served, ""},
		{"POST /a HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "POST /a [abc]", ""},
		{"POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", "POST /a [abc]", ""},

		// Headers that other servers let name a target, a method or a connection's use: here they mean nothing.
		{"GET /a HTTP/1.1\r\nHost: h\r\nX-HTTP-Method-Override: DELETE\r\nX-Original-URL: /b\r\n\r\n", "GET /a []" + served, ""},
		{"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "GET /a []" + served, ""},
		{"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", "GET /a []" + served, ""},
		{"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Content-Length\r\nContent-Length: 3\r\n\r\nabc", "GET /a [abc]" + served, ""},
	}
}

// attacks are all that have one outcome, however their bytes come.
func attacks() []attack {
	return concat(smuggling(), framing(), requestLines(), headerLines(), publicRequests())
}

func concat(tables ...[]attack) (all []attack) {
	for _, t := range tables {
		all = append(all, t...)
	}
	return all
}

// check says what is wrong with an engine's outcome.
func (a attack) check(t *testing.T, e engine, x exchange) {
	t.Helper()
	if got := x.String(); got != a.want && (e.strict || a.laxer == "") {
		t.Errorf("%q\n got %s\nwant %s\n%s", a.in, got, a.want, x.why())
	} else if got == a.want && !e.strict && a.laxer != "" {
		t.Errorf("%q: net/http is not laxer any more", a.in)
	}
}

func TestAttacks(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		synctest.Test(t, func(t *testing.T) { // for what sleeps when it has refused
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
				a.check(t, e, e.send(t, a.in+canary, func(c *memConn) { c.out.chop = 1 }))
			}
		})
	})
}

// TestAttackersAreLeft is about clients that do not go by themselves: whoever was refused must not hold the connection for long.
func TestAttackersAreLeft(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for _, a := range attacks() {
			switch {
			case a.laxer != "" && !e.strict, strings.HasSuffix(a.want, served):
				continue
			case strings.Contains(a.want, canary): // a body that has not ended: its handler may wait
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				client, end := memPair()
				_, _ = client.Write([]byte(a.in + canary))
				go e.serveOne(t, &recorder{}, end)
				time.Sleep(time.Second)
				synctest.Wait()
				if !client.left() {
					t.Errorf("%q: the connection stands", a.in)
				}
				client.Close()
			})
		}
	})
}

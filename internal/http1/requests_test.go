package http1_test

import (
	"strings"
	"testing"
)

func line(first string) string { return first + "\r\nHost: h\r\n\r\n" }

func get(fields string) string { return "GET /a HTTP/1.1\r\n" + fields + "\r\n\r\n" }

// requestLines has attacks on the request line.
func requestLines() []attack {
	return []attack{
		{line("GET /a HTTP/1.1"), "GET /a []" + served, ""},
		{line("get /a HTTP/1.1"), "get /a []" + served, ""}, // methods are case-sensitive, so this is another method
		{line("M!#$%&'*+-.^_`|~ /a HTTP/1.1"), "M!#$%&'*+-.^_`|~ /a []" + served, ""},
		{line("GET /a%20b%2Fc?d=%00&e=;f HTTP/1.1"), "GET /a%20b%2Fc?d=%00&e=;f []" + served, ""},
		{line("GET //a/../b HTTP/1.1"), "GET //a/../b []" + served, ""},
		{line("GET http://other/a?b HTTP/1.1"), "GET http://other/a?b []" + served, ""},
		{line("OPTIONS * HTTP/1.1"), "OPTIONS * []" + served, ""},

		// Blanks.
		{line("GET  /a HTTP/1.1"), "400", ""},
		{line("GET /a  HTTP/1.1"), "400", ""},
		{line("GET /a HTTP/1.1 "), "400", ""},
		{line(" GET /a HTTP/1.1"), "400", ""},
		{line("GET\t/a\tHTTP/1.1"), "400", ""},
		{line("GET /a\tHTTP/1.1"), "400", ""},
		{line("GET /a b HTTP/1.1"), "400", ""},
		{line("GET /a HTTP/1.1 HTTP/1.1"), "400", ""},
		{line("GET /a\x0bHTTP/1.1"), "400", ""},
		{line("GET /a\rHTTP/1.1"), "400", ""},
		{line("GET /a HTTP/1.1\r"), "400", ""},
		{"GET /a HTTP/1.1\nHost: h\r\n\r\n", "400", bareLF},
		{"GET /a HTTP/1.1\nHost: h\n\n", "400", bareLF},
		{"GET /a HTTP/1.1\r\nHost: h\r\n\n", "400", bareLF},
		{"GET /a HTTP/1.1\rHost: h\r\r", "400", ""},
		{"\r\n" + line("GET /a HTTP/1.1"), "400", ""},
		{"\n" + line("GET /a HTTP/1.1"), "400", ""},
		{"\r\n\r\n\r\n", "400", ""},
		{"\x00", "400", ""},
		{post("Content-Length: 1", "x\r\n"), "POST /a [x]" + served, ""},
		{post("Content-Length: 1", "x\r\n\r\n"), "POST /a [x], 400", emptyLines},
		{get("Host: h") + "\r\n", "GET /a [], 400", ""},

		// Versions.
		{line("GET /a"), "400", ""},
		{line("GET /a "), "400", ""},
		{"GET /a\r\n", "400", ""},
		{line("GET /a HTTP/0.9"), "505", ""},
		{line("GET /a HTTP/1.2"), "505", otherVersions},
		{line("GET /a HTTP/2.0"), "505", ""},
		{line("GET /a HTTP/3.0"), "505", ""},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", otherVersions},
		{line("GET /a HTTP/2"), "400", ""},
		{line("GET /a HTTP/1"), "400", ""},
		{line("GET /a HTTP/1.10"), "400", ""},
		{line("GET /a HTTP/01.1"), "400", ""},
		{line("GET /a HTTP/1.1x"), "400", ""},
		{line("GET /a HTTP/1,1"), "400", ""},
		{line("GET /a HTTP/-1.1"), "400", ""},
		{line("GET /a http/1.1"), "400", ""},
		{line("GET /a ICY/1.1"), "400", ""},
		{"GET /a HTTP/1.0\r\n\r\n", "GET /a []", ""},
		{"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET /a []", keptAlive},

		// Methods.
		{line(" /a HTTP/1.1"), "400", ""},
		{line("G(T /a HTTP/1.1"), "400", ""},
		{line("G\x00T /a HTTP/1.1"), "400", ""},
		{line("GÉT /a HTTP/1.1"), "400", ""},
		{line("GET: /a HTTP/1.1"), "400", ""},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400", ""}, // TLS

		// Targets.
		{line("GET a HTTP/1.1"), "400", ""},
		{line("GET ../a HTTP/1.1"), "400", ""},
		{line("GET ?a HTTP/1.1"), "400", ""},
		{line("GET /%zz HTTP/1.1"), "400", ""},
		{line("GET /% HTTP/1.1"), "400", ""},
		{line("GET /a\x00 HTTP/1.1"), "400", ""},
		{line("GET /a\x7f HTTP/1.1"), "400", ""},
		{line("GET /a\x01 HTTP/1.1"), "400", ""},
		{line("GET /\u00e9 HTTP/1.1"), "400", oddTargets},
		{line("GET * HTTP/1.1"), "400", oddTargets},
		{line("GET h:80 HTTP/1.1"), "400", oddTargets},
		{line("GET ftp://h/a HTTP/1.1"), "400", oddTargets},
		{line("GET file:///a HTTP/1.1"), "400", oddTargets},
		{line("GET http:///a HTTP/1.1"), "400", oddTargets},
		{line("GET http:/a HTTP/1.1"), "400", oddTargets},
		{line("GET http:a HTTP/1.1"), "400", oddTargets},
		{line("GET http://user:word@h/a HTTP/1.1"), "400", userInfo},
		{line("GET http://h:port/a HTTP/1.1"), "400", ""},
		{line("GET http://h h/a HTTP/1.1"), "400", ""},
		{line("CONNECT h:80 HTTP/1.1"), "405", connects},
		{line("CONNECT /a HTTP/1.1"), "405", connects},
		{line("GET /" + strings.Repeat("a", 2*headerLimit) + " HTTP/1.1"), "431", ""},
		{line(strings.Repeat("A", 2*headerLimit) + " /a HTTP/1.1"), "431", ""},
		{strings.Repeat("A", 2*headerLimit), "431", ""},
	}
}

// headerLines has attacks on the header lines.
func headerLines() []attack {
	ok := "GET /a []" + served
	return []attack{
		// Host.
		{get("Host: h:80"), ok, ""},
		{get("Host: [2001:db8::1]:80"), ok, ""},
		{get("hOST:h"), ok, ""},
		{get("Host:"), ok, ""},
		{get("X: y"), "400", ""},
		{"GET http://other/a HTTP/1.1\r\n\r\n", "400", ""},
		{get("Host: h\r\nHost: h"), "400", ""},
		{get("Host: h\r\nhost: evil"), "400", ""},
		{get("Host:\r\nHost: h"), "400", ""},
		{get("Host: h evil"), "400", ""},
		{get("Host: h/evil"), "400", ""},
		{get("Host: evil@h"), "400", ""},
		{get("Host: h?"), "400", ""},
		{get("Host: h#"), "400", ""},
		{get("Host: h\\"), "400", ""},
		{get("Host: \"h\""), "400", ""},
		{get("Host: <h>"), "400", ""},
		{get("Host: h\x00"), "400", ""},
		{get("Host: \u00e9"), "400", ""},
		{get("Host : h"), "400", ""},
		{get("Host: h,evil"), ok, ""}, // odd, but a name to look up like any other

		// Names.
		{get("Host: h\r\n!#$%&'*+-.^_`|~09azAZ: x"), ok, ""},
		{get("Host: h\r\n: x"), "400", ""},
		{get("Host: h\r\n : x"), "400", ""},
		{get("Host: h\r\nX"), "400", ""},
		{get("Host: h\r\nX Y: z"), "400", ""},
		{get("Host: h\r\nX : z"), "400", ""},
		{get("Host: h\r\nX(: z"), "400", ""},
		{get("Host: h\r\nX[: z"), "400", ""},
		{get("Host: h\r\n\"X\": z"), "400", ""},
		{get("Host: h\r\nX\x00: z"), "400", ""},
		{get("Host: h\r\n\x7fX: z"), "400", ""},
		{get("Host: h\r\nX\x80: z"), "400", ""},
		{get("Host: h\r\nÉ: z"), "400", ""},
		{get(" Host: h"), "400", ""},
		{get("\tHost: h"), "400", ""},
		{get("Host: h\r\n \r\nX: y"), "400", ""},
		{get("Host: h\r\nX: y\r\n z"), "400", folded},
		{get("X: y\r\n\r\n Host: h"), "400", ""},

		// Values.
		{get("Host: h\r\nX:"), ok, ""},
		{get("Host: h\r\nX: a\tb : c \"\\"), ok, ""},
		{get("Host: h\r\nX: \x80\xff\u00e9"), ok, ""},
		{get("Host: h\r\nX: a\x00b"), "400", ""},
		{get("Host: h\r\nX: a\x01b"), "400", ""},
		{get("Host: h\r\nX: a\x7fb"), "400", ""},
		{get("Host: h\r\nX: a\rb"), "400", ""},
		{get("Host: h\r\nX: a\r\rb"), "400", ""},
		{get("Host: h\r\nX: a\r\r\n"), "400", ""},
		{get("Host: h\r\nX: \r"), "400", ""},
		{get("Host: h\nX: y"), "400", bareLF},
		{get("Host: h\r\nX: y\n\r\nZ: z"), "400", bareLF},

		// Expectations and connection options.
		{get("Host: h\r\nExpect: 200-ok"), "417", ""},
		{post("Expect: later\r\nContent-Length: 1", "x"), "417", ""},
		{post("expect: 100-CONTINUE\r\nContent-Length: 1", "x"), "POST /a [x]" + served, ""},
		{get("Host: h\r\nConnection: close"), "GET /a []", ""},
		{get("Host: h\r\nConnection: x , CLOSE"), "GET /a []", ""},
		{get("Host: h\r\nConnection: x\r\nConnection: close"), "GET /a []", ""},
		{get("Host: h\r\nConnection: closed"), ok, ""},

		// Floods.
		{get("Host: h\r\nX: " + strings.Repeat("a", headerLimit/2)), ok, ""},
		{get("Host: h\r\nX: " + strings.Repeat("a", 2*headerLimit)), "431", ""},
		{get("Host: h\r\n" + strings.Repeat("a", 2*headerLimit) + ": x"), "431", ""},
		{get("Host: h\r\n" + strings.Repeat("X: y\r\n", headerLimit) + "Z: z"), "431", ""},
		{get("Host: h\r\n" + strings.Repeat("X:\r\n", 100) + "Z: z"), ok, ""},
		{get("Host: h\r\n" + strings.Repeat("X:\r\n", 3000) + "Z: z"), "431", manyFields},
	}
}

// TestParsedRequests checks the parts of a request by which a proxy decides.
func TestParsedRequests(t *testing.T) {
	f := func(in string, want func(seen) bool) {
		t.Helper()
		eachEngine(t, func(t *testing.T, e engine) {
			x := e.send(t, in, nil)
			if len(x.seen) != 1 || !want(x.seen[0]) {
				t.Errorf("%q is parsed as %+v", in, x.seen)
			}
		})
	}
	f("GET http://other:81/a?b HTTP/1.1\r\nHost: h\r\n\r\n", func(s seen) bool {
		return s.Host == "other:81" && s.Path == "/a" && s.Query == "b"
	})
	f("GET /a%2Fb%3Fc?d?e HTTP/1.1\r\nHost: h:80\r\n\r\n", func(s seen) bool {
		return s.Host == "h:80" && s.Path == "/a/b?c" && s.Query == "d?e"
	})
	f("GET //evil/a HTTP/1.1\r\nHost: h\r\n\r\n", func(s seen) bool { return s.Host == "h" && s.Path == "//evil/a" })
	f("GET /a HTTP/1.1\r\nHost: h\r\nx-a:  b \t\r\nX-A: c\r\nx-b: \r\n\r\n", func(s seen) bool {
		a := s.Header["X-A"]
		return len(s.Header) == 2 && len(a) == 2 && a[0] == "b" && a[1] == "c" && s.Header.Get("X-B") == "" && len(s.Header["X-B"]) == 1
	})
	f("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", func(s seen) bool { return s.Length == 3 && s.Header.Get("Content-Length") == "3" })
	f("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", func(s seen) bool {
		return s.Length == -1 && len(s.Header) == 0
	})
	f("GET /a HTTP/1.0\r\n\r\n", func(s seen) bool { return s.Host == "" && s.Length == 0 })
}

package edge

import (
	"net/http"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/transport"
)

const (
	page    = "https://chat.example"
	vanilla = "app://obsidian.md"
)

// TestPreflight checks that the balancer responds itself, and sends CORS headers to allowed pages
// only.
func TestPreflight(t *testing.T) {
	f := func(browsers *Browsers, origin string, allowed bool) {
		t.Helper()
		front := newFront(t, 1, "sk-client")
		front.Current().Browsers = browsers
		for _, target := range []string{"/v1/messages", "/v1/files/f1", "/health", "/"} {
			w := front.ask(t, http.MethodOptions, target, "", "Origin", origin, "Access-Control-Request-Method", "POST",
				"Access-Control-Request-Headers", "authorization,content-type", "Access-Control-Request-Private-Network", "true")
			h := w.Header()
			if w.Code != http.StatusNoContent || front.seen != nil || !strings.Contains(h.Get("Vary"), "Origin") {
				t.Errorf("%s: %d, forwarded %t, %v", target, w.Code, front.seen != nil, h)
			}
			want := map[string]string{}
			if allowed {
				want = map[string]string{"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Headers": "authorization,content-type",
					"Access-Control-Allow-Methods": preflightMethods, "Access-Control-Allow-Private-Network": "true", "Access-Control-Max-Age": preflightAge}
			}
			for name := range h {
				if strings.HasPrefix(name, "Access-Control-") && h.Get(name) != want[name] {
					t.Errorf("%s from %s: %s: %s", target, origin, name, h.Get(name))
				}
			}
			for name, value := range want {
				if h.Get(name) != value {
					t.Errorf("%s from %s: %s is %q", target, origin, name, h.Get(name))
				}
			}
		}
	}
	f(nil, page, false)
	f(NewBrowsers(nil, true), page, false)
	f(NewBrowsers(nil, true), "null", false)
	f(NewBrowsers(nil, true), "file://", true)
	f(NewBrowsers([]string{"file://"}, false), "file://", true)
	f(NewBrowsers(nil, true), vanilla, true)
	f(NewBrowsers(nil, false), vanilla, false)
	f(NewBrowsers([]string{}, true), vanilla, false)
	f(NewBrowsers([]string{page}, true), vanilla, false)
	f(NewBrowsers([]string{page}, true), page, true)
	f(NewBrowsers([]string{page}, false), page, true)
	f(NewBrowsers([]string{page}, true), page+":8443", false)
	f(NewBrowsers([]string{page}, true), "https://evil.example", false)
	f(NewBrowsers([]string{"*"}, false), "https://evil.example", true)
	f(NewBrowsers([]string{"*"}, false), "null", true)
}

// TestPages checks the CORS headers of responses, errors included. Those of the upstream are
// removed. With auth off, other pages are refused.
func TestPages(t *testing.T) {
	f := func(browsers *Browsers, key string, status int, readable string, header ...string) {
		t.Helper()
		keys := []string{}
		if !browsers.authOff {
			keys = []string{"sk-client"}
		}
		front := newFront(t, 1, keys...)
		front.Current().Browsers = browsers
		w := front.ask(t, http.MethodPost, "/v1/messages", "{}", append(header, "X-Api-Key", key, "Content-Type", "text/plain")...)
		if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != status || got != readable {
			t.Errorf("%v: status %d, readable by %q, want %d, %q: %s", header, w.Code, got, status, readable, w.Body)
		}
		if forwarded := status == 200; (front.seen != nil) != forwarded {
			t.Errorf("%v: forwarded: %t", header, front.seen != nil)
		}
		if readable != "" && (!strings.Contains(w.Header().Get("Vary"), "Origin") || w.Header().Get("Access-Control-Expose-Headers") == "") {
			t.Errorf("%v: %v", header, w.Header())
		}
		if front.seen != nil && front.seen.Header.Get("Origin")+front.seen.Header.Get("Referer")+front.seen.Header.Get("Cookie") != "" {
			t.Errorf("went upstream: %v", front.seen.Header)
		}
	}
	open, locked, listed := NewBrowsers(nil, false), NewBrowsers(nil, true), NewBrowsers([]string{page}, false)
	f(open, "", 200, "")
	f(open, "", 403, "", "Origin", page)
	f(open, "", 403, "", "Origin", "null")
	f(open, "", 403, "", "Origin", "http://127.0.0.1:3000", "Sec-Fetch-Site", "same-origin")
	f(open, "", 403, "", "Sec-Fetch-Site", "cross-site")
	f(open, "", 403, "", "Sec-Fetch-Site", "same-site")
	f(open, "", 200, "", "Sec-Fetch-Site", "none")
	f(open, "", 200, "", "Sec-Fetch-Mode", "cors") // as sent by Node
	f(open, "", 200, "", "Origin", vanilla)        // a client that could leave it out as well
	f(listed, "", 200, page, "Origin", page, "Sec-Fetch-Site", "cross-site", "Referer", page+"/chat", "Cookie", "session=1")
	f(listed, "", 403, "", "Origin", "https://evil.example")
	f(NewBrowsers([]string{"*"}, false), "", 200, "https://evil.example", "Origin", "https://evil.example")
	f(locked, "sk-client", 200, "", "Origin", page)
	f(locked, "sk-client", 200, vanilla, "Origin", vanilla)
	f(locked, "sk-wrong", 401, vanilla, "Origin", vanilla)
	f(locked, "sk-wrong", 401, "", "Origin", page)
}

// TestLoopEnds checks that a loop is refused before the key is checked.
func TestLoopEnds(t *testing.T) {
	front := newFront(t, 1)
	front.Current().Loop = transport.NewLoop()
	strange := strings.Repeat("0123456789abcdef", 2)
	f := func(marks string, status int) {
		t.Helper()
		w := front.ask(t, http.MethodPost, "/v1/messages", "{}", transport.LoopHeader, marks)
		if w.Code != status {
			t.Errorf("%q: %d", marks, w.Code)
		}
		if status == http.StatusLoopDetected && (w.Header().Get("X-Should-Retry") != "false" || !strings.Contains(w.Body.String(), `"type":"error"`)) {
			t.Errorf("%v %s", w.Header(), w.Body)
		}
	}
	f("", 200)
	f("x", 200)
	f(strange, 200)
	if seen := front.seen.Header.Get(transport.LoopHeader); !strings.HasPrefix(seen, strange+", ") {
		t.Errorf("the mark of another balancer was dropped: %q", seen)
	}
	f(strings.Repeat(strange+",", 15), 200)
	f(strings.Repeat(strange+",", 16), http.StatusLoopDetected)
}

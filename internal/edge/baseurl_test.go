package edge

import (
	"net/url"
	"strings"
	"testing"
)

func TestRemoveDoubledPrefix(t *testing.T) {
	for in, want := range map[string]string{
		"/v1/messages":                      "/v1/messages",
		"//v1/messages":                     "/v1/messages",
		"///v1/messages":                    "/v1/messages",
		"/v1/v1/messages":                   "/v1/messages",
		"/v1//v1/messages":                  "/v1/messages",
		"//v1/v1/models":                    "/v1/models",
		"/v1/v1/v1/models":                  "/v1/models",
		"/v1/messages/v1/messages":          "/v1/messages",
		"/v1/messages//v1/messages/batches": "/v1/messages/batches",
		"/v1/v1/messages/count_tokens":      "/v1/messages/count_tokens",
		"/v1/api/hello":                     "/api/hello",
		"/v1/api/event_logging/v2/batch":    "/api/event_logging/v2/batch",
		"/v1//messages":                     "/v1/messages",
		"/v1/v1//messages":                  "/v1/messages",
		"/v1/v1":                            "/v1",
		"/v1/v1beta/x":                      "/v1/v1beta/x",
		"/v1/messages/count_tokens":         "/v1/messages/count_tokens",
		"/v1/files/v1":                      "/v1/files/v1",
		"/v1/%76%31/messages":               "/v1/messages",
		"/v1/v1/files/a%2Fb":                "/v1/files/a%2Fb",
		"/v1/models/a%2Fb":                  "/v1/models/a%2Fb",
		"/v1/%2Fv1/messages":                "/v1/messages",
		"/anthropic/v1/messages":            "/anthropic/v1/messages",
	} {
		u, err := url.ParseRequestURI(in)
		if strings.HasPrefix(in, "//") { // as the server reads it
			u, err = &url.URL{Path: in}, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if removeDoubledPrefix(u); u.EscapedPath() != want {
			t.Errorf("%s: %s, want %s", in, u.EscapedPath(), want)
		}
	}
}

func FuzzRemoveDoubledPrefix(f *testing.F) {
	f.Add("/v1/v1/messages")
	f.Add("/v1/messages//v1/%2e%2e/x")
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		before := u.Path
		removeDoubledPrefix(u)
		if len(u.Path) > len(before) || strings.HasPrefix(u.Path, "/v1/v1/") || strings.HasPrefix(u.Path, "//") {
			t.Errorf("%q: %q", before, u.Path)
		}
		if again, err := url.PathUnescape(u.EscapedPath()); err != nil || again != u.Path {
			t.Errorf("%q: escaped %q", u.Path, u.EscapedPath())
		}
	})
}

// TestADoubledBaseIsServed checks that the upstream receives the path of the API, and that the
// client key is still required.
func TestADoubledBaseIsServed(t *testing.T) {
	f := newFront(t, 1, "k")
	for target, want := range map[string]string{
		"/v1/v1/messages?beta=true":  "/v1/messages?beta=true",
		"/v1/messages//v1/messages":  "/v1/messages",
		"/v1//messages/count_tokens": "/v1/messages/count_tokens",
		"/v1/v1/models/a%2Fb":        "/v1/models/a%2Fb",
	} {
		f.ask(t, "POST", target, `{"model":"m","messages":[]}`, "X-Api-Key", "k")
		if f.seen == nil || f.seen.URL.RequestURI() != want {
			t.Errorf("%s: the upstream received %v", target, f.seen)
		}
		if w := f.ask(t, "POST", target, `{}`); w.Code != 401 || f.seen != nil {
			t.Errorf("%s without a key: %d", target, w.Code)
		}
	}
	if w := f.ask(t, "GET", "/v1/v1/../x", "", "X-Api-Key", "k"); w.Code != 400 || f.seen != nil {
		t.Errorf("a dot segment: %d", w.Code)
	}
}

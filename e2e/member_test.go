package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestMembersSeeTheirOwnUsage asks as two members, over the whole program, and with the status line.
func TestMembersSeeTheirOwnUsage(t *testing.T) {
	t.Parallel()
	f := newFake(t, "hidden-server")
	b := start(t, keyed(f, object{"name": "ann", "key": "k-ann", "budget_usd": object{"day": 20}}, object{"name": "bob", "key": "k-bob"}))
	for _, key := range []string{"k-ann", "k-bob"} {
		body := fmt.Sprintf(`{"model":%q,"max_tokens":64,"messages":[{"role":"user","content":"hello"}]}`, model)
		a := b.do(http.MethodPost, "/v1/messages", body, "Authorization", "Bearer "+key, "X-Claude-Code-Session-Id", "session-of-"+key)
		if problem := a.flaw(false); problem != "" {
			t.Fatal(problem)
		}
	}
	eventually(t, "the request is in the ledger", func() bool {
		return strings.Contains(string(b.do(http.MethodGet, "/lb/me/log", "", "Authorization", "Bearer k-ann").body), "session-of-k-ann")
	})
	for _, path := range []string{"/lb/me", "/lb/me/log", "/lb/me/report", "/lb/me/status?session=session-of-k-bob"} {
		var body string
		eventually(t, path, func() bool {
			a := b.do(http.MethodGet, path, "", "Authorization", "Bearer k-ann")
			body = string(a.body)
			return a.status == http.StatusOK // 429 after many requests
		})
		for _, secret := range []string{"bob\"", "hidden-server", f.url} {
			if path != "/lb/me/status?session=session-of-k-bob" && strings.Contains(body, "session-of-k-bob") || strings.Contains(body, secret) {
				t.Errorf("%s shows %q: %s", path, secret, body)
			}
		}
	}
	eventually(t, "the status line has the figures", func() bool {
		got := run(t, invocation{args: []string{"statusline"}, stdin: `{"session_id":"session-of-k-ann"}`,
			env: []string{"ANTHROPIC_BASE_URL=" + b.url, "ANTHROPIC_AUTH_TOKEN=k-ann", "NO_COLOR=1", "XDG_CACHE_HOME=" + t.TempDir()}})
		return got.status == 0 && strings.HasPrefix(got.stdout, "⇄ A  $") && strings.Contains(got.stdout, "/20") && strings.Count(got.stdout, "\n") == 1
	})
}

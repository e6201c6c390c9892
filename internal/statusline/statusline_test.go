package statusline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	stdin = `{"session_id":"s-1","context_window":{"used_percentage":34.2},"future":[1]}`
	full  = `{"server":"work","session":{"cost_usd":0.41,"cache_ratio":0.91},"today":{"cost_usd":12.1},"budget":{"window":"day","spent_usd":12.1,"limit_usd":20},"headroom":0.42}`
	whole = "⇄ work  $0.41 (91 % cached)  today $12.10/20  ctx 34 %  left 42 %"
)

// balancer responds to every request with a body, and records the requests.
func balancer(t *testing.T, status int, body string) (url string, seen *[]*http.Request) {
	seen = new([]*http.Request)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*seen = append(*seen, r)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL, seen
}

func options(cache string, env ...string) Options {
	return Options{In: strings.NewReader(stdin), Cache: cache, Format: Segments(), Env: func(name string) (string, bool) {
		for i := 0; i < len(env); i += 2 {
			if env[i] == name {
				return env[i+1], true
			}
		}
		return "", false
	}}
}

func TestLine(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"all", full, whole},
		{"nothing known", `{}`, "⇄ claude-code-lb  ctx 34 %"},
		{"fail-over", `{"server":"spare","failover":{"from":"relay","status":429,"age_seconds":5}}`, "⇄ \x1b[33mspare ←relay 429\x1b[0m  ctx 34 %"},
		{"unpriced", `{"server":"a","session":{"cost_usd":1,"incomplete":true}}`, "⇄ a  $1.00+?  ctx 34 %"},
		{"nearly spent", `{"server":"a","budget":{"window":"week","spent_usd":80,"limit_usd":100}}`, "⇄ a  \x1b[33mweek $80.00/100\x1b[0m  ctx 34 %"},
		{"spent", `{"server":"a","budget":{"window":"total","spent_usd":5,"limit_usd":4.5}}`, "⇄ a  \x1b[31mtotal $5.00/4.50\x1b[0m  ctx 34 %"},
		{"controls the terminal", `{"server":"a\u001b[2J\nb\u202e"}`, "⇄ a[2Jb  ctx 34 %"},
	} {
		url, seen := balancer(t, 200, c.body)
		if got := Line(t.Context(), options("", "ANTHROPIC_BASE_URL", url+"/v1/", "ANTHROPIC_AUTH_TOKEN", "k", "ANTHROPIC_API_KEY", "no"), time.Now()); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if r := (*seen)[0]; len(*seen) != 1 || r.URL.String() != "/lb/me/status?session=s-1" || r.Header.Get("Authorization") != "Bearer k" || r.Header.Get("X-Api-Key") != "" {
			t.Errorf("%s: %v", c.name, r)
		}
	}
}

func TestTroubles(t *testing.T) {
	html, _ := balancer(t, 404, "<html>")
	denied, _ := balancer(t, 401, "{}")
	away := httptest.NewServer(nil)
	away.Close()
	for _, c := range []struct{ env, value, want string }{
		{"X", "", "⇄ direct: not through claude-code-lb"},
		{"ANTHROPIC_BASE_URL", "https://api.anthropic.com", "⇄ direct: not through claude-code-lb"},
		{"CLAUDE_CODE_USE_BEDROCK", "1", "⇄ direct: not through claude-code-lb (CLAUDE_CODE_USE_BEDROCK is set)"},
		{"ANTHROPIC_BASE_URL", "::", "⇄ ANTHROPIC_BASE_URL is not an http:// or https:// address"},
		{"ANTHROPIC_BASE_URL", html, "⇄ not through claude-code-lb (" + html[7:] + ")"},
		{"ANTHROPIC_BASE_URL", denied, "⇄ the key is not accepted (" + denied[7:] + ")"},
		{"ANTHROPIC_BASE_URL", away.URL, "⇄ not reachable (" + away.URL[7:] + ")"},
	} {
		o := options(t.TempDir(), c.env, c.value)
		o.NoColor = true
		if got := Line(t.Context(), o, time.Now()); got != c.want {
			t.Errorf("%s=%s: %q, want %q", c.env, c.value, got, c.want)
		}
	}
}

// TestKeepsTheLatestStatus uses a balancer that responds once and is too slow or busy afterwards.
func TestKeepsTheLatestStatus(t *testing.T) {
	dir, release := t.TempDir(), make(chan struct{})
	var served atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch served.Add(1) {
		case 1:
			io.WriteString(w, strings.Replace(full, `{`, `{"failover":{"from":"b","status":529,"age_seconds":50},`, 1))
		case 2:
			w.WriteHeader(429)
		default:
			<-release
		}
	}))
	defer s.Close()
	defer close(release)
	now := time.Now()
	line := func(after time.Duration) string {
		o := options(dir, "ANTHROPIC_BASE_URL", s.URL, "NO_COLOR", "1")
		return Line(context.Background(), o, now.Add(after))
	}
	if got := line(0); !strings.HasPrefix(got, "⇄ work ←b 529  ") {
		t.Error(got)
	}
	if got := line(15 * time.Second); got != whole { // the fail-over is too old
		t.Error(got)
	}
	if got := line(2 * time.Minute); got != strings.Replace(whole, "work", "~work", 1) {
		t.Error(got)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "claude-code-lb", "statusline", "*"))
	if len(files) != 1 {
		t.Fatal(files)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Error(info.Mode(), err)
	}
	if got := line(2 * maxCacheAge); !strings.HasPrefix(got, "⇄ no response yet (") {
		t.Error(got)
	}
}

func TestWidth(t *testing.T) {
	url, _ := balancer(t, 200, strings.Replace(full, "work", "上海", 1))
	for columns, want := range map[string]string{
		"": "⇄ 上海  $0.41 (91 % cached)  today $12.10/20  ctx 34 %  left 42 %", "200": "⇄ 上海  $0.41 (91 % cached)  today $12.10/20  ctx 34 %  left 42 %",
		"57": "⇄ 上海  $0.41 (91 % cached)  today $12.10/20  ctx 34 %", "27": "⇄ 上海  $0.41 (91 % cached)", "26": "⇄ 上海", "5": "⇄ 上…", "1": "⇄ ", "x": "⇄ 上海  $0.41 (91 % cached)  today $12.10/20  ctx 34 %  left 42 %",
	} {
		if got := Line(t.Context(), options("", "ANTHROPIC_BASE_URL", url, "COLUMNS", columns), time.Now()); got != want {
			t.Errorf("%s columns: %q", columns, got)
		}
	}
}

func TestThen(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("the commands are written for a POSIX shell")
	}
	url, _ := balancer(t, 200, `{"server":"a"}`)
	for then, want := range map[string]string{
		`grep -o s-1`: "s-1  ⇄ a  ctx 34 %", `printf 'one\ntwo\n'`: "one  two  ⇄ a  ctx 34 %", `exit 3`: "⇄ a  ctx 34 %",
		`echo "$CLAUDE_CODE_LB_STATUSLINE"`: "1  ⇄ a  ctx 34 %", `yes | head -c 100000 >&2`: "⇄ a  ctx 34 %",
	} {
		o := options("", "ANTHROPIC_BASE_URL", url)
		o.Then = then
		if got := Line(t.Context(), o, time.Now()); got != want {
			t.Errorf("%s: %q", then, got)
		}
	}
	o := options("", "ANTHROPIC_BASE_URL", url, nested, "1")
	o.Then = "echo again"
	if got := Line(t.Context(), o, time.Now()); got != "⇄ a  ctx 34 %" {
		t.Errorf("nested: %q", got)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere, seen := balancer(t, 200, full)
	s := httptest.NewServer(http.RedirectHandler(elsewhere, http.StatusFound))
	defer s.Close()
	if got := Line(t.Context(), options("", "ANTHROPIC_BASE_URL", s.URL, "ANTHROPIC_AUTH_TOKEN", "secret"), time.Now()); len(*seen) != 0 || !strings.Contains(got, "not through") {
		t.Errorf("%q, %d requests", got, len(*seen))
	}
}

func TestFormat(t *testing.T) {
	if _, err := ParseFormat("server,nothing"); err == nil {
		t.Error("accepted")
	}
	list, err := ParseFormat("ctx, server")
	url, _ := balancer(t, 200, full)
	o := options("", "ANTHROPIC_BASE_URL", url)
	if o.Format = list; err != nil || Line(t.Context(), o, time.Now()) != "⇄ ctx 34 %  work" {
		t.Error(list, err)
	}
}

// FuzzLine checks that every input and every response give exactly one line without control
// characters.
func FuzzLine(f *testing.F) {
	f.Add(stdin, full, 80)
	f.Add("", "{}", 0)
	f.Add("{", `{"server":"\u001b]8;;x\u0007","failover":{"from":"\r\n"}}`, 3)
	f.Fuzz(func(t *testing.T, in, body string, width int) {
		var s status
		if json.Unmarshal([]byte(body), &s) != nil {
			return
		}
		line := join(mark, segmentsOf(&s, 1, Segments(), time.Now()), width%300, false)
		if clean(line) != line {
			t.Errorf("%q", line)
		}
		o := options("")
		o.In = strings.NewReader(in)
		if got := Line(t.Context(), o, time.Now()); got == "" || strings.ContainsAny(got, "\r\n") {
			t.Errorf("%q", got)
		}
	})
}

func ExampleSegments() {
	fmt.Println(strings.Join(Segments(), ","))
	// Output: server,cost,today,budget,ctx,headroom
}

package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// askAs sends a request with a client key.
func (b *balancer) askAs(key, model string, stream bool) answer {
	b.t.Helper()
	body := fmt.Sprintf(`{"model":%q,"max_tokens":64,"stream":%t,"messages":[{"role":"user","content":"hello"}]}`, model, stream)
	return b.do(http.MethodPost, "/v1/messages", body, "Authorization", "Bearer "+key)
}

// keyed returns a configuration with these client keys.
func keyed(f *fake, keys ...object) object {
	return balanced("round_robin", f.entry()).with("auth", true).with("auth_keys", keys)
}

func TestKeysMayDoWhatTheyMay(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := start(t, keyed(f,
		object{"name": "haiku", "key": "k-haiku", "models": []string{"claude-haiku-*"}},
		object{"name": "old", "key": "k-old", "expires": "2020-01-01"},
		object{"name": "elsewhere", "key": "k-elsewhere", "ips": []string{"192.0.2.0/24"}},
		object{"name": "slow", "key": "k-slow", "rpm": 1},
		object{"name": "poor", "key": "k-poor", "budget_usd": object{"day": 0.000001}},
		object{"name": "free", "key": "k-free"},
	))
	check := func(key, model string, status int, kind claude.ErrorType, words string) answer {
		t.Helper()
		a := b.askAs(key, model, true)
		if status == http.StatusOK {
			if problem := a.flaw(true); problem != "" {
				t.Errorf("%s: %s", key, problem)
			}
			return a
		}
		if e := a.failure(t, status, kind); !strings.Contains(e.Message, words) {
			t.Errorf("%s: %q", key, e.Message)
		}
		return a
	}
	const haiku = "claude-haiku-5-5"
	check("k-haiku", haiku, 200, "", "")
	check("k-haiku", model, 403, claude.ErrPermission, "may not ask the model "+model)
	check("k-old", model, 403, claude.ErrPermission, "has expired")
	check("k-elsewhere", model, 403, claude.ErrPermission, "may not be used from this address")
	check("k-unknown", model, 401, claude.ErrAuthentication, "does not know this client key")
	check("k-slow", model, 200, "", "")
	if a := check("k-slow", model, 429, claude.ErrRateLimit, "requests per minute"); a.header.Get("Retry-After") == "" || a.header.Get("X-Should-Retry") != "" {
		t.Errorf("%v", a.header)
	}
	if a := check("k-poor", model, 429, claude.ErrRateLimit, "budget"); a.header.Get("X-Should-Retry") != "false" || !strings.Contains(string(a.body), "is renewed on") {
		t.Errorf("%v %s", a.header, a.body)
	}
	check("k-free", model, 200, "", "")
	for _, twisted := range []string{
		`{"model":%q,"model":"claude-haiku-5-5"}`, `{"Model":%q}`, `{"model":"claude-haiku-5-5","MODEL":%q}`,
		// A second model inside the request.
		`{"model":"claude-haiku-5-5","tools":[{"name":"x","input_schema":{"type":"object"}},{"type":"advisor_20260301","name":"advisor","model":%q}]}`,
		`{"model":"claude-haiku-5-5","fallbacks":[{"model":%q}]}`, `{"model":"claude-haiku-5-5","fallbacks":"default","metadata":{"user_id":%q}}`,
	} {
		b.do(http.MethodPost, "/v1/messages", fmt.Sprintf(twisted, model), "X-Api-Key", "k-haiku").failure(t, 403, claude.ErrPermission)
	}
	allowed := fmt.Sprintf(`{"model":%q,"max_tokens":9,"tools":[{"type":"advisor_20260301","name":"advisor","model":%q},{"name":"x","input_schema":{"properties":{"model":{"type":"string"}}}}],"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`, haiku, haiku)
	if a := b.do(http.MethodPost, "/v1/messages", allowed, "X-Api-Key", "k-haiku"); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	batch := fmt.Sprintf(`{"requests":[{"custom_id":"1","params":{"model":%q,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}}]}`, model)
	b.do(http.MethodPost, "/v1/messages/batches", batch, "X-Api-Key", "k-haiku").failure(t, 403, claude.ErrPermission)
	b.do(http.MethodPost, "/v1/messages/batches", batch, "X-Api-Key", "k-poor").failure(t, 403, claude.ErrPermission)

	r := reported(t, b.file, 17, "-by", "key")
	refused := map[string]int64{}
	for _, row := range r.Rows {
		refused[row.Key] = row.Errors
	}
	if refused["haiku"] != 8 || refused["old"] != 1 || refused["slow"] != 1 || refused["poor"] != 2 || refused["free"] != 0 {
		t.Errorf("%+v", r.Rows)
	}
	b.awaitRecords()
	if _, keys := b.admin(http.MethodGet, "/admin/api/keys", ""); !strings.Contains(fmt.Sprint(keys), "poor") || strings.Contains(fmt.Sprint(keys), "k-poor") {
		t.Errorf("%v", keys)
	}
	for _, name := range []string{"rejected_requests", "turned_away"} { // the second is the deprecated name
		if n := b.metrics()["claude_code_lb_"+name+`_total{status="401"}`]; n != 1 {
			t.Errorf("%s: %g requests with an unknown key were counted, want 1", name, n)
		}
	}
	for _, secret := range []string{"k-haiku", "k-poor", "k-unknown"} {
		if strings.Contains(b.log.String(), secret) {
			t.Errorf("the log shows %s", secret)
		}
	}
}

// TestBudgetSurvivesARestart spends a budget, restarts, and checks that the key is still refused.
func TestBudgetSurvivesARestart(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a", func(o *fakeclaude.Options) { o.MinOutput, o.MaxOutput = 60, 64 })
	cfg := keyed(f, object{"name": "ann", "key": "k", "budget_usd": object{"total": 0.005}})
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, cfg)
	b := startFile(t, file)
	answered := int64(0)
	for a := b.askAs("k", model, false); a.status == 200; a = b.askAs("k", model, false) {
		answered++
	}
	if answered == 0 {
		t.Fatal("not one request fits the budget")
	}
	spent := reported(t, file, answered+1, "-by", "total").Total
	if cost, err := spent.Cost.Float64(); err != nil || cost > 0.005 {
		t.Errorf("%s were spent", spent.Cost)
	}
	b.cleanUp()
	again := startFile(t, file)
	again.askAs("k", model, false).failure(t, 429, claude.ErrRateLimit)
}

// TestSlotsQueue sends more requests than a key has slots: all get a response, never two at a time.
func TestSlotsQueue(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := start(t, keyed(f, object{"name": "ann", "key": "k", "concurrency": 1}).with("stream_keepalive", "1s"))
	f.fails(heldMidText)
	first := make(chan answer, 1)
	go func() { first <- b.askAs("k", model, true) }()
	eventually(t, "the first one is served", func() bool { return f.Stats().InFlight == 1 })
	f.fails()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			a := b.askAs("k", model, true)
			if problem := a.flaw(true); problem != "" {
				t.Error(problem)
			}
			if !strings.Contains(string(a.body), ": waiting") {
				t.Errorf("no comment while it waited:\n%s", a.body)
			}
		})
	}
	began := time.Now()
	eventually(t, "the others wait, longer than the silence", func() bool {
		_, keys := b.admin(http.MethodGet, "/admin/api/keys", "")
		return strings.Contains(fmt.Sprint(keys), "waiting:3") && time.Since(began) > 1500*time.Millisecond
	})
	if n := f.Stats().Requests; n != 1 {
		t.Errorf("%d were asked at a time", n)
	}
	f.release()
	wg.Wait()
	if a := <-first; a.flaw(true) != "" {
		t.Error(a.flaw(true))
	}
}

// TestKeyCommand creates a key for a running balancer, and revokes it.
func TestKeyCommand(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	writeConfig(t, file, balanced("round_robin", f.entry()).with("auth", true).with("keys_file", "keys.json"))
	first := run(t, invocation{args: []string{"key", "new", "-c", file, "-name", "first"}})
	if first.status != 0 {
		t.Fatalf("%+v", first)
	}
	b := startFile(t, file)
	made := run(t, invocation{args: []string{"key", "new", "ann", "-c", file, "-rpm", "100"}})
	key := madeKey(t, made)
	eventually(t, "the new key is known", func() bool { return b.askAs(key, model, false).status == 200 })
	if info, err := os.Stat(filepath.Join(dir, "keys.json")); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("%v, %v", info, err)
	}
	if text := readFile(t, filepath.Join(dir, "keys.json")); strings.Contains(text, key) {
		t.Error("the file holds the key itself")
	}
	list := run(t, invocation{args: []string{"key", "list", "-c", file}})
	if list.status != 0 || !strings.Contains(list.stdout, "ann") || strings.Contains(list.stdout, key) {
		t.Errorf("%+v", list)
	}
	rotated := madeKey(t, run(t, invocation{args: []string{"key", "rotate", "ann", "-c", file}}))
	eventually(t, "the key that replaces it is known", func() bool { return b.askAs(rotated, model, false).status == 200 })
	if a := b.askAs(key, model, false); a.status != 200 {
		t.Errorf("the former key during the overlap: status %d %s", a.status, a.body)
	}
	if l := b.waitLog("the former secret of a client key is still in use", nil); l.text("client") != "ann" || strings.Contains(b.log.String(), key) {
		t.Errorf("%v", l)
	}
	key = madeKey(t, run(t, invocation{args: []string{"key", "rotate", "ann", "-overlap", "3s", "-c", file}}))
	eventually(t, "the key that replaces the second one is known", func() bool { return b.askAs(key, model, false).status == 200 })
	eventually(t, "the overlap is over", func() bool { return b.askAs(rotated, model, false).status == 401 })
	if again := run(t, invocation{args: []string{"key", "new", "ann", "-c", file}}); again.status != 1 || !strings.Contains(again.stderr, "already") {
		t.Errorf("%+v", again)
	}
	if gone := run(t, invocation{args: []string{"key", "revoke", "ann", "-c", file}}); gone.status != 0 {
		t.Errorf("%+v", gone)
	}
	if os.PathSeparator == '/' { // a link stays a link, and its target changes
		keys, kept := filepath.Join(dir, "keys.json"), filepath.Join(dir, "kept.json")
		if err := errors.Join(os.Rename(keys, kept), os.Symlink("kept.json", keys)); err != nil {
			t.Fatal(err)
		}
		linked := run(t, invocation{args: []string{"key", "new", "linked", "-c", file}})
		if info, err := os.Lstat(keys); linked.status != 0 || err != nil || info.Mode()&os.ModeSymlink == 0 || !strings.Contains(readFile(t, kept), "linked") {
			t.Errorf("%+v, %v", linked, err)
		}
	}
	eventually(t, "the key is revoked", func() bool { return b.askAs(key, model, false).status == 401 })
	if other := b.askAs(madeKey(t, first), model, false); other.status != 200 {
		t.Errorf("another key: %d", other.status)
	}
}

// madeKey returns the key that a command has created: the first line, before the entry with its
// hash.
func madeKey(t *testing.T, r result) string {
	t.Helper()
	key, entry, _ := strings.Cut(strings.TrimSpace(r.stdout), "\n")
	if r.status != 0 || !strings.HasPrefix(key, "sk-lb-") || !strings.Contains(entry, fmt.Sprintf(`"key_sha256":"%x"`, sha256.Sum256([]byte(key)))) {
		t.Fatalf("%+v", r)
	}
	return key
}

// TestKeyBeforeAnything creates a key without a configuration.
func TestKeyBeforeAnything(t *testing.T) {
	t.Parallel()
	madeKey(t, run(t, invocation{args: []string{"key", "new", "-name", "build-agents"}}))
	if got := run(t, invocation{args: []string{"key", "new", "-name", "build-agents", "-c", "none.json"}}); got.status != 1 {
		t.Errorf("%+v", got)
	}
}

func TestKeyWithoutAFileOfKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, balanced("round_robin", object{"url": "https://a.example", "token": "t"}))
	made := run(t, invocation{args: []string{"-c", file, "key", "new", "-name", "ann", "-budget-month", "20", "-models", "claude-haiku-*,claude-sonnet-*"}})
	madeKey(t, made)
	_, entry, _ := strings.Cut(made.stdout, "\n")
	var parsed object
	if err := json.Unmarshal([]byte(entry), &parsed); err != nil || parsed["name"] != "ann" || parsed["key_sha256"] == nil {
		t.Errorf("%s: %v", entry, err)
	}
	for _, args := range [][]string{{"key"}, {"key", "new"}, {"key", "revoke", "bob"}, {"key", "new", "x", "-expires", "never"}, {"key", "new", "x", "-models", "["}, {"key", "new", "x", "-budget-day", "NaN"}, {"key", "new", "x", "-budget-day", "1e300"}} {
		if got := run(t, invocation{args: append(args, "-c", file)}); got.status == 0 || got.stderr == "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

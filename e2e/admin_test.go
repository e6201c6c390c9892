package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const adminKey = "admin-key-0123456789"

// admin sends a request to the current admin listener and returns status and JSON of the response.
func (b *balancer) admin(method, path, body string, header ...string) (int, map[string]any) {
	b.t.Helper()
	b.waitLog("admin API listening", nil)
	lines := b.log.lines("admin API listening")
	address := "http://" + lines[len(lines)-1].text("address")
	a := send(b.client, newRequest(b.t, b.t.Context(), method, address+path, body, header...))
	if a.err != nil {
		b.t.Fatalf("%s %s: %v", method, path, a.err)
	}
	var said map[string]any
	if err := json.Unmarshal(a.body, &said); err != nil {
		said = map[string]any{"text": string(a.body)}
	}
	return a.status, said
}

// metrics scrapes all series, by name and labels.
func (b *balancer) metrics() map[string]float64 {
	b.t.Helper()
	status, said := b.admin(http.MethodGet, "/metrics", "")
	text, _ := said["text"].(string)
	if status != http.StatusOK || text == "" {
		b.t.Fatalf("/metrics: %d %v", status, said)
	}
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			b.t.Fatalf("/metrics: %q: %v", line, err)
		}
		all[line[:at]] = value
	}
	return all
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	bad, good := newFake(t, "bad"), newFake(t, "good")
	b := start(t, fallback(bad.entry(), good.entry()))
	before := b.metrics()
	if before[`claude_code_lb_server_state{server="bad",state="fit"}`] != 1 || before["claude_code_lb_config_generation"] != 1 {
		t.Errorf("before any request: %v", before)
	}
	bad.fails(status(http.StatusServiceUnavailable))
	for range 3 {
		b.mustServe(true, good)
	}
	b.mustServe(false, good)
	b.awaitRecords()
	after := b.metrics()
	f := func(series string, want float64) {
		t.Helper()
		if got := after["claude_code_lb_"+series]; got != want {
			t.Errorf("%s = %v, want %v", series, got, want)
		}
	}
	f(`requests_total{client="-",endpoint="messages",model="`+model+`",outcome="answered",status="2xx"}`, 4)
	f(`attempts_total{model="`+model+`",scope="endpoint",server="bad"}`, 1)
	f(`attempts_total{model="`+model+`",scope="none",server="good"}`, 4)
	f(`failovers_total{server="bad",stage="before_commit"}`, 1)
	f(`time_to_first_token_seconds_count{model="`+model+`",server="good"}`, 3)
	f(`server_state{server="bad",state="cooling"}`, 1)
	f(`server_state{server="bad",state="fit"}`, 0)
	f(`server_in_flight{server="good"}`, 0)
	said := good.finalStats(b).Tokens
	f(`tokens_total{client="-",kind="output",model="`+model+`",server="good"}`, float64(said.Output))
	f(`tokens_total{client="-",kind="input",model="`+model+`",server="good"}`, float64(said.Input))
	if after[`claude_code_lb_cost_dollars_total{client="-",model="`+model+`",server="good"}`] <= 0 {
		t.Error("the answers cost nothing")
	}
}

// TestNothingIsAdministeredOnThePublicPort checks the clients' port, from the same machine.
func TestNothingIsAdministeredOnThePublicPort(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := start(t, balanced("round_robin", f.entry()).with("admin_key", adminKey))
	for _, path := range []string{"/metrics", "/admin/api/status", "/admin/api/servers", "/admin/api/openapi.yaml", "/debug/pprof/", "/debug/pprof/heap"} {
		if a := b.get(path, "X-Api-Key", adminKey); a.status != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, a.status)
		}
	}
	for _, path := range []string{"/admin/api/reload", "/admin/api/servers/a/drain", "/admin/api/pprof"} {
		if a := b.do(http.MethodPost, path, "", "X-Api-Key", adminKey); a.status != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, a.status)
		}
	}
	if status, _ := b.admin(http.MethodGet, "/admin/api/status", ""); status != http.StatusUnauthorized {
		t.Errorf("without the key: %d", status)
	}
	if status, said := b.admin(http.MethodGet, "/admin/api/status", "", "Authorization", "Bearer "+adminKey); status != http.StatusOK {
		t.Errorf("with the key: %d %v", status, said)
	}
	if f.count() != 0 {
		t.Error("a request for the admin API reached an upstream")
	}
	if strings.Contains(b.log.String(), adminKey) {
		t.Error("the key is in the log")
	}
}

// TestDrainAServer drains a server with an open response, reloads, and undrains it.
func TestDrainAServer(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first"), newFake(t, "second")
	cfg := fallback(first.entry(), second.entry())
	b := start(t, cfg)
	b.mustServe(true, first)
	first.Script(heldMidText)
	running := b.open(t)
	if status, said := b.admin(http.MethodPost, "/admin/api/servers/first/drain", ""); status != http.StatusOK || said["state"] != "draining" || said["in_flight"] != 1.0 {
		t.Errorf("%d %v", status, said)
	}
	_, said := b.admin(http.MethodGet, "/admin/api/requests", "")
	if list := said["requests"].([]any); len(list) != 1 || list[0].(map[string]any)["server"] != "first" {
		t.Errorf("live: %v", said)
	}
	b.mustServe(true, second)
	b.reconfigure(cfg.with("cooldown", "61s"))
	b.mustServe(true, second)
	first.release()
	running.mustEndWhole()
	b.admin(http.MethodPost, "/admin/api/servers/first/undrain", "")
	b.mustServe(true, first)

	first.fails(status(http.StatusUnauthorized))
	b.mustServe(true, second)
	first.fails()
	b.mustServe(true, second) // the first one's key is in cooldown
	if status, said := b.admin(http.MethodPost, "/admin/api/servers/first/reset", ""); status != http.StatusOK || said["state"] != "fit" {
		t.Errorf("%d %v", status, said)
	}
	b.mustServe(true, first)
	b.awaitRecords()
	_, said = b.admin(http.MethodGet, "/admin/api/decisions", "")
	latest := said["decisions"].([]any)[0].(map[string]any)
	if latest["server"] != "first" || latest["outcome"] != "answered" || !strings.HasPrefix(fmt.Sprint(latest["trail"].([]any)[0]), "first: answered in ") {
		t.Errorf("%v", latest)
	}
	for _, action := range []string{"drain", "undrain", "reset"} {
		b.waitLog("changed by an operator", func(l line) bool { return l.text("action") == action && l.text("target") == "first" })
	}
}

// TestReloadByAdmin checks that a reload reports problems, changes key and address, and changes
// nothing on an error.
func TestReloadByAdmin(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	cfg := balanced("round_robin", f.entry())
	b := start(t, cfg)
	// The file is read once a second anyway, so its content is in force at the latest after the
	// reload.
	writeConfig(t, b.file, cfg.with("mode", "nonsense"))
	status, said := b.admin(http.MethodPost, "/admin/api/reload", "")
	text, _ := json.Marshal(said)
	if status != http.StatusUnprocessableEntity || !strings.Contains(string(text), `"path":"mode"`) {
		t.Errorf("%d %s", status, text)
	}
	if got := b.metrics()["claude_code_lb_config_last_reload_successful"]; got != 0 {
		t.Errorf("last reload successful: %v", got)
	}
	if _, whole := b.admin(http.MethodGet, "/admin/api/status", ""); !strings.Contains(fmt.Sprint(whole["reload"]), "mode") || !strings.Contains(fmt.Sprint(whole["reload"]), "ok:false") {
		t.Errorf("the status does not say why the reload failed: %v", whole)
	}
	moved := freeAddress(t)
	writeConfig(t, b.file, cfg.with("admin", moved).with("admin_key", adminKey))
	if status, said := b.admin(http.MethodPost, "/admin/api/reload", "", "X-Api-Key", adminKey); status != http.StatusOK { // it may be in force already
		t.Fatalf("%d %v", status, said)
	}
	b.waitLog("admin API listening", func(l line) bool { return l.text("address") == moved })
	if status, _ := b.admin(http.MethodGet, "/admin/api/status", ""); status != http.StatusUnauthorized {
		t.Errorf("without the new key: %d", status)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	writeConfig(t, b.file, cfg.with("admin", taken.Addr().String()).with("admin_key", adminKey))
	if status, said := b.admin(http.MethodPost, "/admin/api/reload", "", "X-Api-Key", adminKey); status != http.StatusUnprocessableEntity {
		t.Errorf("%d %v", status, said)
	}
	if status, _ := b.admin(http.MethodGet, "/admin/api/status", "", "X-Api-Key", adminKey); status != http.StatusOK {
		t.Errorf("the old listener is gone: %d", status)
	}
	b.mustServe(true, f)
	b.reconfigure(cfg.with("admin", "off"))
	eventually(t, "the admin listener is closed", func() bool {
		c, err := net.DialTimeout("tcp", moved, time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// TestServersRememberWhatHappened checks the state of a server that fails and of one that succeeds.
func TestServersRememberWhatHappened(t *testing.T) {
	t.Parallel()
	bad, good := newFake(t, "bad"), newFake(t, "good")
	b := start(t, balanced("round_robin", bad.entry(), good.entry()))
	bad.fails(status(529))
	for range 4 {
		b.mustServe(false, good)
	}
	eventually(t, "both are remembered", func() bool {
		_, all := b.admin(http.MethodGet, "/admin/api/servers", "")
		_, whole := b.admin(http.MethodGet, "/admin/api/status", "")
		text := fmt.Sprint(all) + fmt.Sprint(whole)
		return strings.Contains(text, "scope:capacity") && strings.Contains(text, "last_good:") && strings.Contains(text, "error_rate:1") && strings.Contains(text, "error_rate:0") &&
			strings.Contains(fmt.Sprint(whole["last_error"]), "server:bad")
	})
}

// TestAdminAddresses checks addresses in use: a configured one is an error, the default one is not.
func TestAdminAddresses(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	file := filepath.Join(t.TempDir(), "config.json")
	cfg := balanced("round_robin", f.entry())

	writeConfig(t, file, cfg.with("admin", "0.0.0.0:3001"))
	for _, args := range [][]string{{"check", "-c", file}, {"-c", file}} {
		if r := run(t, invocation{args: args}); r.status != 1 || !strings.Contains(r.stderr, "admin: error: can be reached from other machines") {
			t.Errorf("%v: %d %s", args, r.status, r.stderr)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	writeConfig(t, file, cfg.with("admin", taken.Addr().String()))
	if r := run(t, invocation{args: []string{"-c", file}}); r.status != 1 || !strings.Contains(r.stderr, taken.Addr().String()) {
		t.Errorf("%d %s", r.status, r.stderr)
	}

	// Two balancers with the default address: one of them has it, and both serve clients.
	writeConfig(t, file, cfg.with("admin", ""))
	other := filepath.Join(t.TempDir(), "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, other, text)
	one, two := startFile(t, file), startFile(t, other)
	one.mustServe(true, f)
	two.mustServe(true, f)
	const warning = "admin API disabled: default address in use; set admin to another address"
	eventually(t, "one of them says that it has no admin listener", func() bool { return one.log.count(warning)+two.log.count(warning) > 0 })
}

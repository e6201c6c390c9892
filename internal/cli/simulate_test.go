package cli

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/service"
)

// smallDay has two conversations of two requests each. The second request of each can read the
// first from the cache.
const smallDay = `{"trace":"claude-code","block":64}
{"t":0,"s":1,"a":0,"m":"claude-opus-4-5","in":6400,"out":10,"tp":10,"sp":20,"b":[[0,20],[100,80]]}
{"t":1,"s":2,"a":0,"m":"claude-opus-4-5","in":6400,"out":10,"tp":10,"sp":20,"b":[[0,20],[500,80]]}
{"t":20,"s":1,"a":0,"m":"claude-opus-4-5","in":7040,"out":10,"tp":10,"sp":20,"b":[[0,20],[100,90]]}
{"t":21,"s":2,"a":0,"m":"claude-opus-4-5","in":7040,"out":10,"tp":10,"sp":20,"b":[[0,20],[500,90]]}
`

func simulate(t *testing.T, args ...string) (out, errs string, status int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "day.jsonl")
	if err := os.WriteFile(file, []byte(smallDay), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errs = runCommand(t, "simulate", "", nil, append([]string{"-trace", file}, args...)...)
	return out, errs, status
}

func TestSimulate(t *testing.T) {
	out, errs, status := simulate(t, "-accounts", "1,2", "-policy", "cost_aware,round_robin", "-format", "json")
	if status != service.ExitOK || errs != "" {
		t.Fatalf("status %d, %s", status, errs)
	}
	var got struct {
		Policies []map[string]any
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Policies) != 4 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, p := range got.Policies {
		for _, name := range []string{"policy", "accounts", "cost_ratio", "hit_rate", "imbalance_15m_p95", "imbalance_run", "client_429", "upstream_429", "ttft_mean_ms", "waited", "moved"} {
			if _, ok := p[name]; !ok {
				t.Errorf("%v has no %s", p, name)
			}
		}
		if p["requests"] != 4.0 || p["client_429"] != 0.0 {
			t.Errorf("%v", p)
		}
	}
	// One account reads every earlier prompt from the cache: twice the 6400 tokens of the first
	// request. It never reads the shared 1280 tokens, because both conversations start before the
	// first response.
	if rate, want := got.Policies[0]["hit_rate"], 2*6400/(2*6400+2*7040.0); rate != want {
		t.Errorf("one account: hit rate %v, want %v", rate, want)
	}
	if got.Policies[1]["hit_rate"] != got.Policies[0]["hit_rate"] {
		t.Errorf("two accounts: %v", got.Policies[1])
	}
}

func TestSimulateFormats(t *testing.T) {
	out, _, status := simulate(t, "-format", "csv", "-policy", "cost_aware, random+affinity", "-itpm", "450k", "-kill", "0@5s+2s", "-restart", "10s", "-snapshot", "-no-session", "-deviation", "10", "-burst-hold", "1s")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if status != service.ExitOK || err != nil || len(rows) != 3 || rows[0][2] != "cost_ratio" || rows[2][0] != "random+affinity" {
		t.Errorf("status %d, %v\n%s", status, err, out)
	}
	out, _, status = simulate(t)
	if status != service.ExitOK || !strings.Contains(out, "round_robin+affinity") || !strings.Contains(out, "4 requests") {
		t.Errorf("status %d\n%s", status, out)
	}
}

func TestSimulateRefuses(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		if _, errs, status := simulate(t, args...); status != service.ExitUsage || !strings.Contains(errs, want) {
			t.Errorf("%q: status %d, %q, want %q", args, status, errs, want)
		}
	}
	f("want text, json or csv", "-format", "xml")
	f("want numbers from 1 to 256", "-accounts", "0")
	f("want numbers from 1 to 256", "-accounts", "eight")
	f("such as 450000, 450k or 2M", "-itpm", "many")
	f("ACCOUNT@TIME+LENGTH", "-kill", "0@4h")
	f("there is no account 9", "-kill", "9@4h+10m")
	f("such as 450000, 450k or 2M", "-itpm", "NaN")
	f("round_robbin, 8 accounts: algorithm: ", "-policy", "round_robbin")
	f(`-policy "random,": want names`, "-policy", "random,")
	f("-restart -1h0m0s: want", "-restart", "-1h")
	f("-burst-hold -1s: want", "-burst-hold", "-1s")
	f("-deviation 100: want", "-deviation", "100")
	f("-deviation -5: want", "-deviation", "-5")
	f("-deviation NaN: want", "-deviation", "NaN")
	f("-trace FILE is missing", "-trace", "")
	f("no such file", "-trace", "/nowhere/day.jsonl")
	f("neither a request nor a header", "-trace", writeConfig(t, `{"servers": []}`))
}

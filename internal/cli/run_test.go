package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

func TestBill(t *testing.T) {
	attempt := func(scope verdict.Scope, served bool, cost ledger.Cost, usage claude.Usage) ledger.Attempt {
		return ledger.Attempt{Scope: scope.String(), Served: served, Cost: cost, Answer: claude.Message{Started: served, Usage: usage}}
	}
	cost := func(dollars float64) ledger.Cost { return ledger.Cost{Sum: ledger.USD(dollars), Known: true} }
	for _, test := range []struct {
		entries []ledger.Entry
		want    string
	}{
		{nil, "no requests"},
		{[]ledger.Entry{{Outcome: ledger.Answered}}, "$0.00"},
		{
			[]ledger.Entry{
				{Outcome: ledger.Answered, Attempts: []ledger.Attempt{
					attempt(verdict.ScopeCapacity, false, ledger.Cost{}, claude.Usage{}), attempt(verdict.ScopeEndpoint, false, ledger.Cost{}, claude.Usage{}),
					attempt(verdict.ScopeClient, false, ledger.Cost{}, claude.Usage{}), // lost against a hedge
					attempt(verdict.ScopeNone, true, cost(0.5), claude.Usage{InputTokens: 5, CacheReadTokens: 90, CacheCreation5mTokens: 5}),
				}},
				{Outcome: ledger.Answered, Attempts: []ledger.Attempt{
					attempt(verdict.ScopeRateLimit, false, ledger.Cost{}, claude.Usage{}), attempt(verdict.ScopeNone, true, cost(0.34), claude.Usage{CacheReadTokens: 100}),
				}},
			}, "$0.84, 3 failovers hidden, cache 95 %",
		},
		{
			[]ledger.Entry{
				{Outcome: ledger.Failed, Attempts: []ledger.Attempt{attempt(verdict.ScopeCapacity, false, ledger.Cost{}, claude.Usage{})}},
				{Outcome: ledger.Answered, Attempts: []ledger.Attempt{attempt(verdict.ScopeNone, true, ledger.Cost{Sum: ledger.USD(0.0042), Unpriced: "model x"}, claude.Usage{InputTokens: 1})}},
			}, "$0.0042, 1 request without a known price, 1 request failed, cache 0 %",
		},
	} {
		b := new(bill)
		for _, e := range test.entries {
			b.Record(e)
		}
		if got := b.String(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestChildVariables(t *testing.T) {
	key := config.NewSecret("k")
	const own = "ANTHROPIC_BASE_URL=http://127.0.0.1:1\nANTHROPIC_AUTH_TOKEN=k"
	for _, test := range []struct{ environment, want string }{
		{"A=1\nANTHROPIC_API_KEY=x\nanthropic_base_url=y\nANTHROPIC_MODEL=m\nCLAUDE_CODE_OAUTH_TOKEN=z", "A=1\nANTHROPIC_MODEL=m\n" + own},
		{"https_proxy=p", "https_proxy=p\nNO_PROXY=127.0.0.1\nno_proxy=127.0.0.1\n" + own},
		{"HTTP_PROXY=p\nno_proxy=a,b", "HTTP_PROXY=p\nNO_PROXY=a,b,127.0.0.1\nno_proxy=a,b,127.0.0.1\n" + own},
		{"HTTP_PROXY=\nEMPTY", "HTTP_PROXY=\nEMPTY\n" + own},
	} {
		got := strings.Join(childVariables("http://127.0.0.1:1", key, strings.Split(test.environment, "\n")), "\n")
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.environment, diff)
		}
	}
}

func TestClaudeAt(t *testing.T) {
	for command, want := range map[string]int{
		"claude -p": 0, "/opt/bin/claude": 0, `claude.exe`: 0, "claude.cmd x": 0, "npx @anthropic-ai/claude-code@latest -p": 1, "sudo -u ann claude": 3, "node agent.js": -1, "python agent.py --model claude": -1, "claude-code-lb": -1,
	} {
		if got := claudeAt(strings.Fields(command)); got != want {
			t.Errorf("%s: %d, want %d", command, got, want)
		}
	}
}

func TestTakeSettings(t *testing.T) {
	for _, test := range []struct{ args, value, kept string }{
		{"-p hi", "", "-p hi"},
		{"--settings a -p --settings=b hi", "b", "-p hi"},
		{"-p -- --settings a", "", "-p -- --settings a"},
		{"--settings", "", "--settings"},
	} {
		value, found, kept := takeSettings(strings.Fields(test.args))
		if value != test.value || found != (test.value != "") || !slices.Equal(kept, strings.Fields(test.kept)) {
			t.Errorf("%s: %q, %v, %q", test.args, value, found, kept)
		}
	}
}

func TestExportLines(t *testing.T) {
	set := [][2]string{{"A", "1"}}
	if got, want := exportLines("linux", set, []string{"B"}), "export A='1';\nunset B;\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := exportLines("windows", set, []string{"B"}), "$env:A = '1'\nRemove-Item Env:B\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

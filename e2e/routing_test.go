package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// startExample runs an example configuration on a free port, with a simulated upstream for each of
// its addresses.
func startExample(t *testing.T, file string, upstreams map[string]*fake) *balancer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	example := string(text)
	for _, swap := range append(slices.Collect(maps.Keys(upstreams)), `"port": "3000"`) {
		if !strings.Contains(example, swap) {
			t.Fatalf("%s has no %s", file, swap)
		}
	}
	for address, f := range upstreams {
		example = strings.ReplaceAll(example, address, f.url)
	}
	example = strings.ReplaceAll(example, `"port": "3000"`, `"port": "0", "admin": "127.0.0.1:0"`)
	path := filepath.Join(t.TempDir(), "config.json")
	replaceFile(t, path, []byte(example))
	b := startFile(t, path)
	// It listens on every interface.
	b.url = "http://127.0.0.1" + b.url[strings.LastIndex(b.url, ":"):]
	return b
}

// newFakeWithKey returns an upstream with a given credential.
func newFakeWithKey(t *testing.T, name, key string) *fake {
	f := newFake(t, name, func(o *fakeclaude.Options) { o.Keys = []string{key} })
	f.token = key
	return f
}

func TestExampleConfiguration(t *testing.T) {
	t.Parallel()
	primary := newFakeWithKey(t, "primary", "sk-primary-token-here")
	secondary := newFakeWithKey(t, "secondary", "sk-secondary-token-here")
	backup := newFakeWithKey(t, "backup", "sk-backup-token-here")
	b := startExample(t, "config.example.json", map[string]*fake{
		"https://api.primary-server.com": primary, "https://api.secondary-server.com": secondary, "https://api.backup-server.com": backup,
	})
	for i := range 18 {
		b.mustServe(i%2 == 0)
	}
	for f, want := range map[*fake]int{primary: 10, secondary: 6, backup: 2} {
		if f.count() != want {
			t.Errorf("%s got %d of 18 requests, want %d", f.name, f.count(), want)
		}
	}
	b.awaitRecords()
	_, noCurl := exec.LookPath("curl")
	_, noJQ := exec.LookPath("jq")
	if failed := b.log.lines("balance check failed; keeping the last reading"); len(failed) > 0 && noCurl == nil && noJQ == nil {
		t.Errorf("balance checks failed: %v", failed)
	}
}

func TestFallbackExampleConfiguration(t *testing.T) {
	t.Parallel()
	primary := newFakeWithKey(t, "primary", "sk-primary-token")
	backup := newFakeWithKey(t, "backup", "sk-backup-token")
	emergency := newFakeWithKey(t, "emergency", "sk-emergency-token")
	b := startExample(t, "config.fallback.example.json", map[string]*fake{
		"https://primary.com": primary, "https://backup.com": backup, "https://emergency.com": emergency,
	})
	for _, key := range []string{"sk-client-key-1", "sk-client-key-2"} {
		a := b.ask(true, "Authorization", "Bearer "+key)
		if problem := a.flaw(true); problem != "" || !primary.served(a) {
			t.Errorf("with %s: %s", key, problem)
		}
	}
	primary.fails(status(500))
	backup.fails(status(529))
	if a := b.ask(false, "X-Api-Key", "sk-client-key-1"); a.flaw(false) != "" || !emergency.served(a) {
		t.Errorf("with two of three down: %s", a.flaw(false))
	}
}

// servers sends n requests, one after another, and returns the names of their servers.
func servers(b *balancer, n int, fakes []*fake) []string {
	b.t.Helper()
	var names []string
	for i := range n {
		a := b.mustServe(i%3 == 0, fakes...)
		names = append(names, fakes[slices.IndexFunc(fakes, func(f *fake) bool { return f.served(a) })].name)
	}
	return names
}

func TestShares(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		algorithm string
		weights   []int
		requests  int
		window    int            // in every sequence of this many requests …
		share     map[string]int // … each server has exactly this many
	}{
		{"round_robin", []int{1, 1, 1}, 12, 3, map[string]int{"a": 1, "b": 1, "c": 1}},
		{"round_robin", []int{1, 0, 1}, 8, 2, map[string]int{"a": 1, "c": 1}},
		{"weighted_round_robin", []int{5, 3, 1}, 36, 9, map[string]int{"a": 5, "b": 3, "c": 1}},
		{"weighted_round_robin", []int{1, 0, 2}, 12, 3, map[string]int{"a": 1, "c": 2}},
	} {
		t.Run(fmt.Sprint(test.algorithm, test.weights), func(t *testing.T) {
			t.Parallel()
			fakes := newFakes(t, "a", "b", "c")
			var entries []object
			for i, f := range fakes {
				entries = append(entries, f.entry().with("weight", test.weights[i]))
			}
			order := servers(start(t, balanced(test.algorithm, entries...)), test.requests, fakes)
			for run := range slices.Chunk(order, test.window) {
				share := map[string]int{}
				for _, name := range run {
					share[name]++
				}
				if !maps.Equal(share, test.share) {
					t.Fatalf("shares %v in one run of %d, want %v; order %v", share, test.window, test.share, order)
				}
			}
		})
	}
}

func TestRandom(t *testing.T) {
	t.Parallel()
	fakes := newFakes(t, "a", "b", "c", "d")
	b := start(t, balanced("random", fakes[0].entry(), fakes[1].entry(), fakes[2].entry(), fakes[3].entry()))
	servers(b, 200, fakes)
	total := 0
	for _, f := range fakes {
		total += f.count()
		if f.count() == 0 {
			t.Errorf("%s got none of 200 requests", f.name)
		}
	}
	if total != 200 {
		t.Errorf("%d requests arrived, want 200", total)
	}
}

func TestFallbackTakesTheFirst(t *testing.T) {
	t.Parallel()
	fakes := newFakes(t, "a", "b", "c")
	b := start(t, object{"mode": "fallback", "servers": []object{
		fakes[0].entry().with("priority", 3), fakes[1].entry().with("priority", 1), fakes[2].entry().with("priority", 2),
	}})
	for range 8 {
		b.mustServe(false, fakes[1])
	}
}

// TestFallbackOrder makes every server fail once: the attempts follow the order of the priorities.
func TestFallbackOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		mode    object
		servers []object // weight and priority of a, b, c, d
		want    string
	}{
		{"by priority", object{"mode": "fallback"}, []object{{"priority": 4}, {"priority": 2}, {"priority": 1}, {"priority": 3}}, "c b d a"},
		{"by weight", object{"mode": "fallback"}, []object{{"weight": 1}, {"weight": 5}, {"weight": 3}, {"weight": 5}}, "b d c a"},
		{"by place", object{"mode": "fallback"}, []object{{}, {}, {}, {}}, "a b c d"},
		{"written ones first", object{"mode": "fallback"}, []object{{"weight": 9}, {"priority": 7}, {}, {"priority": 2}}, "d b a c"},
		{"none for weight 0", object{"mode": "fallback"}, []object{{"weight": 0, "priority": 1}, {"priority": 2}, {"weight": 0}, {}}, "b d"},
		{"the deprecated field", object{"fallback": true}, []object{{"priority": 2}, {"priority": 1}, {}, {}}, "b a c d"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var entries []object
			for i, f := range newFakes(t, "a", "b", "c", "d") {
				f.fails(status(529))
				entry := f.entry()
				maps.Copy(entry, test.servers[i])
				entries = append(entries, entry)
			}
			b := start(t, test.mode.with("servers", entries).with("max_wait", 0))
			if a := b.ask(false); a.status != 529 {
				t.Errorf("status %d with every server overloaded, want the last one's 529", a.status)
			}
			b.waitLog("request", nil) // after those of the attempts
			var order []string
			for _, l := range b.log.lines("attempt failed") {
				order = append(order, l.text("server"))
			}
			if got := strings.Join(order, " "); got != test.want {
				t.Errorf("tried %s, want %s", got, test.want)
			}
		})
	}
}

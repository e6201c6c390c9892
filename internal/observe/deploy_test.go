package observe

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// deployFiles returns the files that name metrics for other programs.
func deployFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"grafana/claude-code-lb.json", "prometheus/alerts.yml", "prometheus/alerts_test.yml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "observability.md"))
	if err != nil {
		t.Fatal(err)
	}
	files["docs/observability.md"] = string(page)
	return files
}

// TestDeployFileNames checks that every metric and label in dashboard, alerts and documentation
// exists.
func TestDeployFileNames(t *testing.T) {
	known := map[string][]string{}
	for _, f := range allFamilies().list() {
		known[f.name] = f.labels
	}
	used := regexp.MustCompile(`\bclaude_code_lb_\w+(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)(?:=~|!=|!~|=)\\?["']`)
	for file, text := range deployFiles(t) {
		found := 0
		for _, m := range used.FindAllStringSubmatch(text, -1) {
			found++
			name, _, _ := strings.Cut(m[0], "{")
			labels, ok := known[name]
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				if histogram, is := strings.CutSuffix(name, suffix); is && !ok {
					labels, ok = known[histogram]
				}
			}
			if !ok {
				t.Errorf("%s: there is no metric %s", file, name)
				continue
			}
			for _, l := range label.FindAllStringSubmatch(m[1], -1) {
				if l[1] != "instance" && l[1] != "job" && l[1] != "le" && !strings.Contains(" "+strings.Join(labels, " ")+" ", " "+l[1]+" ") {
					t.Errorf("%s: %s has no label %s", file, name, l[1])
				}
			}
		}
		if found < 10 {
			t.Errorf("%s: only %d metrics found", file, found)
		}
	}
	var dashboard struct {
		Panels []struct {
			ID    int
			Type  string
			Title string
		}
	}
	if err := json.Unmarshal([]byte(deployFiles(t)["grafana/claude-code-lb.json"]), &dashboard); err != nil {
		t.Fatal(err)
	}
	ids, rows := map[int]bool{}, 0
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			rows++
		}
	}
	if rows != 4 {
		t.Errorf("%d rows", rows)
	}
}

// TestEveryMetricIsUsed checks that the dashboard or an alert uses every metric, except deprecated
// names.
func TestEveryMetricIsUsed(t *testing.T) {
	files := deployFiles(t)
	for _, f := range allFamilies().list() {
		deprecated := strings.HasPrefix(f.help, "Deprecated ")
		if !deprecated && !strings.Contains(files["grafana/claude-code-lb.json"]+files["prometheus/alerts.yml"], f.name) {
			t.Errorf("neither the dashboard nor an alert uses %s", f.name)
		}
	}
}

// promtool runs Prometheus's checks.
func promtool(t *testing.T, stdin []byte, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: promtool is not installed (Debian: apt-get install prometheus)")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Stdin = filepath.Join("..", "..", "deploy", "prometheus"), bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

func TestAlertsAreWellFormed(t *testing.T) { promtool(t, nil, "check", "rules", "alerts.yml") }

func TestAlerts(t *testing.T) { promtool(t, nil, "test", "rules", "alerts_test.yml") }

// TestPromtoolAcceptsMetrics checks the served metrics.
func TestPromtoolAcceptsMetrics(t *testing.T) {
	w := httptest.NewRecorder()
	newFilledMetrics(t).Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || w.Body.Len() == 0 {
		t.Fatalf("status %d", w.Code)
	}
	promtool(t, w.Body.Bytes(), "check", "metrics")
}

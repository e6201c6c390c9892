package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// startFake runs the command and returns its URL, and a function that ends it and returns its exit
// status and the rest of its output.
func startFake(t *testing.T, args ...string) (url string, stop func() (int, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	status := make(chan int, 1)
	go func() {
		code := runFake(ctx, service.Std{Out: writer, Err: io.Discard}, args)
		writer.Close()
		status <- code
	}()
	out := bufio.NewReader(reader)
	line, err := out.ReadString('\n')
	if err != nil {
		cancel()
		t.Fatalf("no URL: %v", err)
	}
	return strings.TrimSpace(line), func() (int, string) {
		cancel()
		rest, err := io.ReadAll(out)
		if err != nil {
			t.Error(err)
		}
		return <-status, string(rest)
	}
}

func askFake(t *testing.T, client *http.Client, url string, stream bool) (status int, proto, body string) {
	t.Helper()
	request := `{"model":"claude-sonnet-4-5","max_tokens":50,"messages":[{"role":"user","content":"hi"}]`
	if stream {
		request += `,"stream":true`
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/messages", strings.NewReader(request+"}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer secret")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Proto, string(content)
}

func TestFakeServesAndCounts(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(rules, []byte(`[{"fault":"status=529","count":1}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	url, stop := startFake(t, "-keys", "other, secret", "-first-token", "1ms", "--token-interval=0s",
		"-script", "", "-script", "status=503", "-faults", rules)
	for i, want := range []int{200, 503, 529, 200} {
		if got, _, body := askFake(t, http.DefaultClient, url, i%2 == 0); got != want {
			t.Errorf("request %d: status %d, want %d: %s", i, got, want, body)
		}
	}
	code, out := stop()
	var stats fakeclaude.Stats
	if err := json.Unmarshal([]byte(out), &stats); err != nil || code != service.ExitOK || stats.Requests != 4 || stats.ByStatus[200] != 2 {
		t.Errorf("exit status %d, statistics %s (%v)", code, out, err)
	}
}

func TestFakeSpeaksHTTP2(t *testing.T) {
	url, stop := startFake(t, "-first-token", "0s", "-token-interval", "0s")
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	status, proto, body := askFake(t, &http.Client{Transport: transport}, url, true)
	if status != 200 || proto != "HTTP/2.0" || !strings.HasSuffix(body, "\"message_stop\"}\n\n") {
		t.Errorf("%s %d %s", proto, status, body)
	}
	transport.CloseIdleConnections()
	if code, _ := stop(); code != service.ExitOK {
		t.Errorf("exit status %d", code)
	}
}

func TestFakeEndsItsStallsWhenItStops(t *testing.T) {
	url, stop := startFake(t, "-fault", "stall=headers", "-first-token", "0s")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", url+"/v1/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if code, _ := stop(); code != service.ExitOK {
		t.Errorf("exit status %d", code)
	}
	if _, err := io.ReadAll(resp.Body); err == nil || ctx.Err() != nil {
		t.Errorf("the stalled response ended with %v", err)
	}
}

func TestFakeRefusesWhatMakesNoSense(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(broken, []byte(`[{"fault":"status=529","chance":1}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, code int, args ...string) {
		t.Helper()
		var out, errOut bytes.Buffer
		got := runFake(t.Context(), service.Std{Out: &out, Err: &errOut}, args)
		if got != code || !strings.Contains(errOut.String(), want) || out.Len() > 0 {
			t.Errorf("%v: exit status %d, %s%s", args, got, out.String(), errOut.String())
		}
	}
	f("unknown kind", service.ExitUsage, "-fault", "explode")
	f("belong to rules only", service.ExitUsage, "-script", "html,p=0.5")
	f(`unknown field "chance"`, service.ExitUsage, "-faults", broken)
	f("read rules", service.ExitUsage, "-faults", broken+"x")
	f("not defined", service.ExitUsage, "-nonsense")
	f(`unexpected argument "now"`, service.ExitUsage, "now")
	f("negative", service.ExitUsage, "-rpm", "-1")
	f("below min_output", service.ExitUsage, "-min-output", "9", "-max-output", "3")
	f("listen", service.ExitError, "-listen", "256.0.0.1:99999")
}

func TestFakeHelp(t *testing.T) {
	var out bytes.Buffer
	if code := runFake(t.Context(), service.Std{Out: &out, Err: io.Discard}, []string{"-h"}); code != service.ExitOK {
		t.Errorf("exit status %d", code)
	}
	for _, want := range []string{"-token-interval", "KIND[=VALUE]", "mid_text"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help does not mention %s", want)
		}
	}
}

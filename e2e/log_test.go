package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRequestLine checks the log line of a request.
func TestRequestLine(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{true, false} {
		t.Run(fmt.Sprintf("stream=%t", stream), func(t *testing.T) {
			t.Parallel()
			first, second := newFake(t, "first"), newFake(t, "second")
			first.fails(status(529))
			b := start(t, guarded(first.entry().with("priority", 1), second.entry().with("priority", 2)).with("mode", "fallback"))
			long := strings.Replace(message(stream), `"hello there"`, `[{"type":"text","text":"`+strings.Repeat("cached words ", 4000)+`","cache_control":{"type":"ephemeral"}}]`, 1)
			var a answer
			for range 2 { // the second reads what the first wrote into the cache
				a = b.do("POST", "/v1/messages?beta=true", long, "X-Api-Key", clientKey, "X-Claude-Code-Session-Id", "6e2c1d9a-0000-4000-8000-000000000001")
				if problem := a.flaw(stream); problem != "" {
					t.Fatal(problem)
				}
			}
			if err := second.WaitIdle(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "both requests are logged", func() bool { return b.log.count("request") == 2 })
			for i, l := range b.log.lines("request") {
				usage := second.Requests()[i].Usage
				for name, want := range map[string]any{
					"client": "key-532410c339", "model": model, "stream": stream, "server": "second", "attempts": float64(2 - i), "status": 200.0,
					"outcome": "answered", "method": "POST", "path": "/v1/messages", "session": "6e2c1d9a-0000-4000-8000-000000000001",
					"upstream_request_id": second.Requests()[i].ID, "tokens_out": float64(usage.OutputTokens),
					"tokens_in":  float64(usage.InputTokens + usage.CacheRead + usage.CacheCreation),
					"cache_read": float64(usage.CacheRead), "cache_created": float64(usage.CacheCreation),
				} {
					if l[name] != want {
						t.Errorf("request %d: %s is %v, want %v", i, name, l[name], want)
					}
				}
				if !strings.HasPrefix(l.text("id"), "req_") || l.number("ttft") <= 0 || l.number("duration") < l.number("ttft") {
					t.Errorf("id %v, ttft %v, duration %v", l["id"], l["ttft"], l["duration"])
				}
			}
			if last := b.log.lines("request")[1]; last.number("cache_read") == 0 {
				t.Error("nothing was read from the cache: the test shows less than it should")
			}
		})
	}
}

// TestStartAndEnd checks the log lines about the whole process.
func TestStartAndEnd(t *testing.T) {
	t.Parallel()
	unixOnly(t, "processes cannot be sent SIGTERM")
	first, second := newFake(t, "first"), newFake(t, "second")
	b := start(t, balanced("weighted_round_robin", first.entry().with("weight", 2), second.entry()))
	for range 6 {
		b.mustServe(true)
	}
	second.fails(status(500))
	for range 3 {
		b.mustServe(true, first)
	}
	b.cleanUp()
	starting := b.waitLog("starting", nil)
	if !strings.HasPrefix(starting.text("mode"), "load_balance") || starting.text("algorithm") != "weighted_round_robin" || starting.text("version") == "" {
		t.Errorf("start: %v", starting)
	}
	for name, want := range map[string]any{
		"affinity": "auto", "max_attempts": 4.0, "max_wait": 30.0, "silence": 45.0, "hedge": false, "total_timeout": 280.0, "response_header_timeout": 120.0,
	} {
		if starting[name] != want {
			t.Errorf("start: %s is %v, want %v", name, starting[name], want)
		}
	}
	if listed := b.log.count("server"); listed != 2 {
		t.Errorf("%d servers listed at the start", listed)
	}
	for name, want := range map[string][2]float64{"first": {7, 0}, "second": {3, 1}} {
		for _, l := range b.log.lines("statistics") {
			if l["server"] == name && (l.number("requests") != want[0] || l.number("errors") != want[1]) {
				t.Errorf("statistics of %s: %v requests, %v errors, want %v", name, l["requests"], l["errors"], want)
			}
		}
	}
	if n := b.log.count("statistics"); n != 2 {
		t.Errorf("statistics of %d servers", n)
	}
}

// TestWhoReadsTheLogMayGo checks that the balancer continues without a reader of its log.
func TestWhoReadsTheLogMayGo(t *testing.T) {
	t.Parallel()
	unixOnly(t, "there is no SIGPIPE")
	up := newFake(t, "up")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, balanced("round_robin", up.entry()).with("listen", "127.0.0.1:0"))
	cmd := exec.Command(binary, "-c", file)
	cmd.Env, cmd.Stderr = environment(), write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	write.Close()
	var said struct{ Msg, Address string }
	for lines := bufio.NewScanner(read); said.Msg != "listening" && lines.Scan(); {
		_ = json.Unmarshal(lines.Bytes(), &said) // other lines do not count
	}
	read.Close()
	for begin := time.Now(); time.Since(begin) < time.Second; { // lines are written in batches
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+said.Address+"/v1/messages", strings.NewReader(message(false)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Anthropic-Version", "2023-06-01")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("status %d", res.StatusCode)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

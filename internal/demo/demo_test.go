package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

func noEnv(string) (string, bool) { return "", false }

// TestDemo runs a demo until it has hidden a failure and served a guest.
func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, w := io.Pipe()
	status := make(chan int, 1)
	go func() {
		status <- Run(ctx, service.Std{Out: w, Err: w, Env: noEnv}, nil)
		w.Close()
	}()

	var out strings.Builder
	var guests sync.WaitGroup
	hidden, joined := false, false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		out.WriteString(line + "\n")
		if base, ok := strings.CutPrefix(line, "  export ANTHROPIC_BASE_URL="); ok {
			guests.Go(func() { sendAsGuest(ctx, t, base) })
		}
		hidden = hidden || strings.Contains(line, " → ")
		joined = joined || strings.Contains(line, "guest/1 ")
		if hidden && joined {
			cancel()
		}
	}
	guests.Wait()
	if got := <-status; got != service.ExitOK {
		t.Errorf("exit status %d", got)
	}
	for _, want := range []string{
		"  export ANTHROPIC_BASE_URL=http://127.0.0.1:", "  export ANTHROPIC_AUTH_TOKEN=demo\n", "All responses are simulated",
		"  ── alpha is overloaded", "alpha ✗529 → ", "\nupstream ", "\nalpha ", "\nbeta ", "\ngamma ", ", 0 of them failed.\n", " stayed hidden: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the output", want)
		}
	}
	if !hidden || !joined || t.Failed() {
		t.Errorf("a failure was hidden: %v; a guest was shown: %v; output:\n%s", hidden, joined, &out)
	}
}

// sendAsGuest sends a request as a separate client.
func sendAsGuest(ctx context.Context, t *testing.T, base string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/messages",
		strings.NewReader(`{"model":"claude-haiku-5-5","max_tokens":20,"messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("X-Api-Key", "demo")
	req.Header.Set("Anthropic-Version", "2023-06-01")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer res.Body.Close()
	if _, err := readPlain(res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("a guest got status %d, %v", res.StatusCode, err)
	}
}

func TestDemoEndsByItself(t *testing.T) {
	status, out, errOut := runCommand(t, "-for", "600ms", "-sessions", "2", "-v")
	if status != service.ExitOK || !strings.Contains(out, ", 0 of them failed.\n") || !strings.Contains(errOut, "server=alpha") {
		t.Errorf("status %d\n%s%s", status, out, errOut)
	}
}

func TestDemoFlags(t *testing.T) {
	f := func(wantStatus int, want string, args ...string) {
		t.Helper()
		status, out, errOut := runCommand(t, args...)
		if status != wantStatus || !strings.Contains(out+errOut, want) {
			t.Errorf("demo %q: status %d\n%s%s", args, status, out, errOut)
		}
	}
	f(service.ExitOK, "Usage: claude-code-lb demo", "-h")
	f(service.ExitUsage, "-for -1s", "-for", "-1s")
	f(service.ExitUsage, "-sessions 0: want 1 to 100", "--sessions=0")
	f(service.ExitUsage, "missing port in address", "-listen", "3000")
	f(service.ExitUsage, "invalid port", "-listen", "127.0.0.1:99999")
	f(service.ExitUsage, `unexpected argument "now"`, "now")
	f(service.ExitUsage, "not defined: -fro", "-fro", "15s")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f(service.ExitError, "demo: listen: ", "-listen", taken.Addr().String())
}

// TestDemoScriptLeavesOneUpstream checks that at every moment one upstream has no fault, so that no
// request needs to fail.
func TestDemoScriptLeavesOneUpstream(t *testing.T) {
	scenes := script()
	round := time.Duration(0)
	for i, this := range scenes {
		round += this.pause + this.duration
		next := scenes[(i+1)%len(scenes)]
		faulty := map[string]bool{}
		for _, each := range []scene{this, next} {
			for name, rule := range each.faults {
				faulty[name] = true
				if err := rule.Validate(); err != nil {
					t.Errorf("%s: %v", each.text, err)
				}
			}
		}
		if len(faulty) > 2 {
			t.Errorf("between %q and %q every upstream fails", this.text, next.text)
		}
	}
	if round > 15*time.Second {
		t.Errorf("a round takes %s", round)
	}
}

func TestDemoViewCountsFailures(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	session := sessionID(7, 1)
	f := func(want int, change func(v *screen, e *ledger.Entry)) {
		t.Helper()
		v := newScreen(service.Std{Out: io.Discard, Env: noEnv})
		e := ledger.Entry{Start: start, Duration: time.Second, Outcome: ledger.Failed, Status: 503}
		change(v, &e)
		v.Record(e)
		if got := v.failures(); got != want {
			t.Errorf("%+v: %d failures, want %d", e, got, want)
		}
	}
	f(1, func(*screen, *ledger.Entry) {})
	f(1, func(_ *screen, e *ledger.Entry) { e.Outcome = ledger.Truncated })
	f(0, func(_ *screen, e *ledger.Entry) { e.Outcome = ledger.ClientGone })
	f(0, func(_ *screen, e *ledger.Entry) { e.Outcome = ledger.Answered })
	f(0, func(_ *screen, e *ledger.Entry) { e.Session = session })
	f(1, func(v *screen, e *ledger.Entry) {
		e.Session = session
		v.recordFailure(session, errors.New("status 503"))
	})
	f(1, func(v *screen, e *ledger.Entry) { v.setDrainDeadline(start.Add(2 * time.Second)) })
	f(0, func(v *screen, e *ledger.Entry) { v.setDrainDeadline(start.Add(time.Second / 2)) })
}

func TestDemoViewShowsRequests(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	v := newScreen(service.Std{Out: &out, Env: noEnv})
	v.open("http://127.0.0.1:1", []simulatedUpstream{{name: "alpha"}, {name: "beta"}})
	answered := ledger.Entry{
		Start: start, Duration: time.Second, Session: sessionID(3, 0), Method: "POST", Path: "/v1/messages", Stream: true, Status: 200,
		Outcome: ledger.Answered, TimeToFirstByte: 142 * time.Millisecond,
		Attempts: []ledger.Attempt{{Server: "alpha", Status: 529, Reason: "status 529 overloaded_error", Start: start}, {
			Server: "beta", Status: 200, Start: start, Served: true,
			Answer: claude.Message{Usage: claude.Usage{InputTokens: 1000, CacheReadTokens: 9000, OutputTokens: 87}},
		}},
	}
	v.Record(answered)
	answered.Attempts[0] = ledger.Attempt{Server: "alpha", Reason: "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", Start: start}
	answered.Path, answered.Stream = "/v1/messages/count_tokens", false
	v.Record(answered)
	v.Record(ledger.Entry{Start: start, Duration: 2 * time.Second, Method: "GET", Path: "/v1/models", Outcome: ledger.ClientGone})
	v.close()
	for _, want := range []string{
		"\ntime      session   kind    server  status  first token  tokens in  tokens out  cache read  attempts\n",
		"\n12:00:01  s3/1      stream  beta       200       142 ms      10000          87        9000  alpha ✗529 → beta\n",
		"\n12:00:01  s3/2      count   beta       200       142 ms      10000          87        9000  alpha ✗connection reset by peer → beta\n",
		"\n12:00:02  guest/1   models  -         left            -          -           -           -\n",
		"\nupstream  requests  failed  first token mean  first token p95  tokens in  tokens out  cache read\n",
		"\nalpha            2       2                 -                -          0           0           -\n",
		"\nbeta             2       0            142 ms ", "      20000         174      90.0 %\n",
		"\n3 client requests in ", ", 0 of them failed.\n2 failures of upstreams stayed hidden: 2 requests were answered by another upstream.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestDemoViewDoesNotBlock(t *testing.T) {
	v := newScreen(service.Std{Out: io.Discard, Env: noEnv})
	for range maxLines + 5 { // no goroutine writes yet
		v.Record(ledger.Entry{})
	}
	if v.dropped != 5 || v.tally.requests != maxLines+5 {
		t.Errorf("%d lines dropped, %d requests counted", v.dropped, v.tally.requests)
	}
}

func TestReadDemoStream(t *testing.T) {
	const (
		start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\"}}\n\n"
		text  = "event: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" +
			"event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hel\"}}\n\n" +
			"event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"lo\"}}\n\n"
		tool = "event: content_block_start\ndata: {\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"read\",\"input\":{}}}\n\n" +
			"event: content_block_delta\ndata: {\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":1}\"}}\n\n"
		stop = "event: message_stop\ndata: {}\n\n"
	)
	f := func(stream, want, wantErr string) {
		t.Helper()
		response, err := readStream(strings.NewReader(stream))
		if wantErr != "" {
			if err == nil || err.Error() != wantErr {
				t.Errorf("error %v, want %s", err, wantErr)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(response.blocks); string(got) != want {
			t.Errorf("blocks %s, want %s", got, want)
		}
	}
	f(start+text+tool+stop, `[{"type":"text","text":"Hello"},{"type":"tool_use","id":"t","name":"read","input":{"a":1}}]`, "")
	f(start+text, "", "the stream ended without message_stop")
	f("", "", "the stream ended without message_stop")
	f(start+"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n", "",
		"error event: overloaded_error: Overloaded")
	f(start+tool+stop, "", "unreadable event: a delta of block 1 after 1 blocks")
}

func TestDemoCacheMarks(t *testing.T) {
	c := &conversation{
		traffic: &traffic{prompt: newSharedPrompt(1)}, random: rand.New(rand.NewPCG(1, 1)), id: sessionID(1, 0), model: "claude-opus-5-5",
	}
	c.addUserMessage(block{Type: "text", Text: "first"})
	encode := func() string {
		text, err := json.Marshal(c.nextRequest(true))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), `"cache_control":{"type":"ephemeral"}`); n != 3 {
			t.Errorf("%d cache marks, want 3", n)
		}
		return string(text)
	}
	if text := encode(); !strings.Contains(text, `"content":[{"type":"text","text":"first","cache_control":{"type":"ephemeral"}}]`) {
		t.Error("the first message has no cache mark")
	}
	c.history = append(c.history, chatMessage{Role: "assistant", Content: content{{Type: "tool_use", ID: "t", Name: "read", Input: json.RawMessage(`{}`)}}})
	c.addUserMessage(c.nextUserBlocks(&reply{blocks: c.history[1].Content})...)
	text := encode()
	if !strings.Contains(text, `{"role":"user","content":"first"}`) {
		t.Error("the first message is not plain again")
	}
	if !strings.Contains(text, `"tool_use_id":"t"`) {
		t.Error("the tool's result is missing")
	}
	scan, err := claude.ScanRequest([]byte(text))
	if err != nil || claude.SessionID(nil, scan.UserID) != c.id {
		t.Errorf("session in metadata: %v", err)
	}
}

// runCommand runs the command with args until it ends.
func runCommand(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	var stdout, stderr strings.Builder
	status = Run(t.Context(), service.Std{Out: &stdout, Err: &stderr, Env: noEnv}, args)
	return status, stdout.String(), stderr.String()
}

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// promptly is the time in which an upstream must notice that a client has left.
const promptly = time.Second

// TestClientLeaves has clients that leave at every stage of a response. It runs before the parallel
// tests, because the time matters.
func TestClientLeaves(t *testing.T) {
	slow := func(at fault.Point) fault.Fault {
		return fault.Fault{Kind: fault.Slow, At: at, Delay: held}
	}
	for _, test := range []struct {
		name  string
		held  fault.Fault
		body  string
		sent  string   // by the upstream when the client leaves
		heard []string // by the client, in order
	}{
		{"before the head of a plain answer", heldBeforeHead, message(false), "", nil},
		{"before the head of a stream", heldBeforeHead, message(true), "", nil},
		{"after message_start, which is held back", slow(fault.AtMessageStart), message(true), "message_start", nil},
		{"when the text begins", slow(fault.AtBlockStart), message(true), "", []string{"content_block_start"}},
		{"in the middle of the text", heldMidText, message(true), "", []string{"text_delta"}},
		{"after a tool call", slow(fault.AtToolBlock), withTool(message(true)), "", []string{"input_json_delta", "content_block_stop"}},
		{"before message_stop", slow(fault.AtMessageDelta), message(true), "", []string{"message_delta"}},
		{"while comments fill the silence", heldBeforeHead, message(true), "", []string{": waiting"}},
		{"while comments fill the silence after message_start", slow(fault.AtMessageStart), message(true), "message_start", []string{": waiting"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, second := newSite(t, "first"), newFake(t, "second")
			first.Script(test.held)
			cfg := fallback(first.entry(), second.entry())
			if strings.Contains(test.name, "comments") {
				cfg = cfg.with("stream_keepalive", "50ms")
			}
			b := start(t, cfg)
			healthy := b.health()
			leave := b.listen(t, test.body, test.heard...)
			eventually(t, "the upstream is at work", func() bool { return first.count() == 1 && first.hasSent(test.sent) })
			leave()
			first.mustNotice(t)
			b.waitLog("request", about("outcome", "client_gone"))
			b.mustBear(t, healthy)
			if second.count() != 0 {
				t.Error("the request of a client that had left went on to the second server")
			}
			b.mustServe(true, first.fake)
			b.mustServe(false, first.fake)
		})
	}
}

// withTool returns a request that offers a tool.
func withTool(body string) string {
	return strings.Replace(body, "{", `{"tools":[{"name":"look","description":"Look.","input_schema":{"type":"object","properties":{"where":{"type":"string"}}}}],`, 1)
}

// listen sends a request and reads until the client has received the given texts. The client stays
// until leave is called.
func (b *balancer) listen(t *testing.T, body string, heard ...string) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := newRequest(t, ctx, http.MethodPost, b.url+"/v1/messages", body)
	listening, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		res, err := b.client.Do(r)
		if err != nil {
			listening <- err
			return
		}
		defer res.Body.Close()
		listening <- hear(bufio.NewReader(res.Body), heard)
		<-ctx.Done()
	}()
	leave = func() {
		cancel()
		<-gone
	}
	t.Cleanup(leave)
	if len(heard) == 0 {
		return leave
	}
	if err := <-listening; err != nil {
		t.Fatalf("waiting for %q: %v", heard, err)
	}
	return leave
}

// hear reads until all texts have arrived, each in a later line than the one before.
func hear(r *bufio.Reader, texts []string) error {
	for _, text := range texts {
		for line := ""; !strings.Contains(line, text); {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				return err
			}
		}
	}
	return nil
}

// mustNotice requires that the only request so far is canceled.
func (s *site) mustNotice(t *testing.T) {
	t.Helper()
	within(t, promptly, "the upstream notices", func() bool { return s.only(t).Outcome == fakeclaude.OutcomeCancelled })
}

// health returns the response of /health without the time.
func (b *balancer) health() string {
	b.t.Helper()
	text, _, _ := strings.Cut(string(b.get("/health").body), `,"time"`)
	return text
}

// mustBear requires that a client which left has changed nothing.
func (b *balancer) mustBear(t *testing.T, health string) {
	t.Helper()
	if now := b.health(); now != health {
		t.Errorf("/health says %s after a client left, and said %s before", now, health)
	}
	b.awaitRecords()
	if n := b.log.count("attempt failed") + b.log.count("server out"); n > 0 {
		t.Error("a server was charged for a client that left")
	}
}

// TestClientLeavesTheQueue leaves while a client waits for a server in cooldown.
func TestClientLeavesTheQueue(t *testing.T) {
	t.Parallel()
	only := newFake(t, "only")
	only.Script(status(429, "Retry-After", "2"))
	b := start(t, balanced("round_robin", only.entry()))
	leave := b.listen(t, message(true))
	b.waitLog("server out", nil)
	resting := b.health()
	leave()
	within(t, promptly, "the request is over", func() bool { return b.log.count("request") == 1 })
	b.waitLog("request", about("outcome", "client_gone"))
	if now := b.health(); now != resting {
		t.Errorf("/health says %s after the client left, and said %s before", now, resting)
	}
	b.mustServe(true, only)
	eventually(t, "both requests are logged", func() bool { return b.log.count("request") == 2 })
	if only.count() != 2 || b.log.count("server out") != 1 {
		t.Errorf("%d requests arrived and %d rests, want 2 and 1", only.count(), b.log.count("server out"))
	}
}

// TestProbeLeaves cancels the request that probes a server: the next request does it.
func TestProbeLeaves(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first"), newFake(t, "second")
	first.Script(status(500), heldBeforeHead)
	b := start(t, fallback(first.entry(), second.entry()).with("cooldown", "100ms"))
	b.mustServe(true, second)
	eventually(t, "the cooldown is over", func() bool { return b.available() == 2 })
	leave := b.listen(t, message(true))
	eventually(t, "the probe arrives", func() bool { return first.count() == 2 })
	leave()
	within(t, promptly, "the upstream notices", func() bool { return first.Requests()[1].Outcome == fakeclaude.OutcomeCancelled })
	b.waitLog("request", about("outcome", "client_gone"))
	b.mustServe(true, first)
	b.awaitRecords()
	if n := b.log.count("server out"); n != 1 {
		t.Errorf("%d rests, want the first alone", n)
	}
}

// TestSlowReader stops reading a large response: no other client waits, and the client gets all of
// it when it continues.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for _, leaves := range []bool{true, false} {
		t.Run(map[bool]string{true: "leaves", false: "goes on"}[leaves], func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "only")
			large := s.Settings()
			small := large
			large.MinOutput, large.MaxOutput = 600_000, 600_000 // more than socket buffers hold
			s.set(t, large)
			b := start(t, balanced("round_robin", s.entry()))
			healthy := b.health()
			reader := b.openWith(t, strings.Replace(message(true), "1024", "600000", 1))
			s.set(t, small)
			b.mustServeOthers(t)
			eventually(t, "the upstream waits for the reader alone", func() bool { return s.Stats().InFlight == 1 })
			if !leaves {
				a := reader.rest()
				if problem := a.flaw(true); problem != "" {
					t.Fatal(problem)
				}
				mustBeWhole(t, a, s)
				return
			}
			reader.leave()
			within(t, promptly, "the upstream notices", func() bool { return s.Requests()[0].Outcome == fakeclaude.OutcomeCancelled })
			b.waitLog("request", about("outcome", "client_gone"))
			b.mustBear(t, healthy)
		})
	}
}

func (s *site) set(t *testing.T, settings fakeclaude.Settings) {
	t.Helper()
	if err := s.SetSettings(settings); err != nil {
		t.Fatal(err)
	}
}

// mustServeOthers serves many clients while one is slow.
func (b *balancer) mustServeOthers(t *testing.T) {
	t.Helper()
	const crowd = 40
	answers := make(chan answer, crowd)
	var asking sync.WaitGroup
	for range crowd {
		asking.Go(func() { answers <- b.ask(true) })
	}
	eventually(t, "everybody else is served", func() bool { return len(answers) == crowd })
	asking.Wait()
	close(answers)
	for a := range answers {
		if problem := a.flaw(true); problem != "" {
			t.Error(problem)
		}
	}
}

// TestSlowSender sends a request slowly: no other client waits, and the upstream gets the request
// when it is complete.
func TestSlowSender(t *testing.T) {
	t.Parallel()
	f := newFake(t, "only")
	b := start(t, balanced("round_robin", f.entry()))
	healthy := b.health()
	body := message(true)
	stays, leaves := b.begin(t, body), b.begin(t, body)
	b.mustServeOthers(t)
	others := f.count()
	leaves.Close()
	for _, c := range []byte(body[len(body)/2:]) {
		if _, err := stays.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(stays), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if problem := (answer{res.StatusCode, res.Header, text, err}).flaw(true); problem != "" {
		t.Error(problem)
	}
	b.mustBear(t, healthy)
	if seen := f.Requests(); len(seen) != others+1 || string(seen[others].Body) != body {
		t.Errorf("%d requests arrived beside those of others, want the one that became whole", len(seen)-others)
	}
}

// begin sends the first half of a request.
func (b *balancer) begin(t *testing.T, body string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: balancer\r\nAnthropic-Version: 2023-06-01\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:len(body)/2]); err != nil {
		t.Fatal(err)
	}
	return c
}

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// impatient are time-outs for upstreams that hang.
var impatient = object{"connect": "2s", "response_header": "300ms", "non_streaming": "300ms", "idle": "300ms"}

// TestFailover breaks the first of two servers: the client must not notice, and the server must be
// in cooldown.
func TestFailover(t *testing.T) {
	t.Parallel()
	type f = fault.Fault
	for _, test := range []struct {
		name         string
		fault        fault.Fault
		streams      bool // for streams
		plainAnswers bool // for plain responses
	}{
		{"500", status(500), true, true},
		{"502 from a proxy", f{Kind: fault.HTML, Status: 502}, true, true},
		{"529", status(529), true, true},
		{"429", status(429), true, true},
		{"401", status(401), true, true},
		{"402", status(402), true, true},
		{"403", status(403), true, true},
		{"reset", f{Kind: fault.Reset}, true, true},
		{"reset after the head", f{Kind: fault.Reset, At: fault.AtHeaders}, true, true},
		{"closed", f{Kind: fault.Close}, true, true},
		{"closed in the middle", f{Kind: fault.Close, At: fault.AtMidText}, false, true},
		{"half of the JSON and a clean end", f{Kind: fault.End, At: fault.AtMidText}, false, true},
		{"broken JSON", f{Kind: fault.Malformed}, false, true},
		{"empty", f{Kind: fault.Empty}, true, true},
		{"HTML with status 200", f{Kind: fault.HTML}, true, true},
		{"error event first", f{Kind: fault.Error}, true, false},
		{"error event after message_start", f{Kind: fault.Error, At: fault.AtMessageStart}, true, false},
		{"ends after message_start", f{Kind: fault.End, At: fault.AtMessageStart}, true, false},
		{"hangs", f{Kind: fault.Stall}, true, true},
		{"hangs after the head", f{Kind: fault.Stall, At: fault.AtHeaders}, true, true},
		{"hangs after message_start", f{Kind: fault.Stall, At: fault.AtMessageStart}, true, false},
	} {
		for _, stream := range []bool{true, false} {
			if stream && !test.streams || !stream && !test.plainAnswers {
				continue
			}
			t.Run(fmt.Sprintf("%s/stream=%t", test.name, stream), func(t *testing.T) {
				t.Parallel()
				broken := newFake(t, "broken")
				broken.fails(test.fault)
				mustHide(t, broken.entry(), stream)
				if broken.count() != 1 {
					t.Errorf("%d requests reached the server that should rest, want 1", broken.count())
				}
			})
		}
	}
}

func TestFailoverFromNobody(t *testing.T) {
	t.Parallel()
	mustHide(t, deadEntry(t), true)
}

// mustHide sends several requests while the first server is broken.
func mustHide(t *testing.T, broken object, stream bool) {
	t.Helper()
	good := newFake(t, "good")
	// A busy machine may need more than 300 ms for a response of the good server.
	patient := impatient.with("response_header", "700ms").with("non_streaming", "700ms")
	b := start(t, fallback(broken, good.entry()).with("timeouts", patient))
	for range 4 {
		b.mustServe(stream, good)
	}
	eventually(t, "all requests are logged", func() bool { return b.log.count("request") == 4 })
	if n := b.log.count("attempt failed"); n != 1 {
		t.Errorf("%d attempts failed, want the first alone", n)
	}
	if cooling := b.census("cooling"); cooling != 1 {
		t.Errorf("%d servers cooling, want 1", cooling)
	}
}

// TestOneProbe sends 200 requests at once to a server whose cooldown is over: only one of them
// probes it.
func TestOneProbe(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first"), newFake(t, "second")
	b := start(t, fallback(first.entry(), second.entry()).with("cooldown", "500ms"))
	first.Script(status(500), heldBeforeHead)
	b.mustServe(false, second)
	eventually(t, "the cooldown is over", func() bool { return b.available() == 2 })

	const crowd = 200
	answers := make(chan answer, crowd)
	var asking sync.WaitGroup
	for range crowd {
		asking.Go(func() { answers <- b.ask(false) })
	}
	eventually(t, "all but the probe are answered", func() bool { return len(answers) == crowd-1 })
	if first.count() != 2 {
		t.Errorf("%d requests reached the server in its cooldown, want one probe", first.count()-1)
	}
	first.release()
	asking.Wait()
	close(answers)
	probes := 0
	for a := range answers {
		if problem := a.flaw(false); problem != "" {
			t.Fatal(problem)
		}
		if first.served(a) {
			probes++
		}
	}
	if probes != 1 {
		t.Errorf("the server answered %d requests of the crowd, want its probe alone", probes)
	}
	b.waitLog("server back", about("server", "first"))
	b.mustServe(true, first)
}

// TestFailedProbe checks that a failed probe extends the cooldown.
func TestFailedProbe(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first"), newFake(t, "second")
	b := start(t, fallback(first.entry(), second.entry()).with("cooldown", "400ms"))
	first.Script(status(500), status(500))
	b.mustServe(false, second)
	eventually(t, "the cooldown is over", func() bool { return b.available() == 2 })
	b.mustServe(false, second)
	again := b.waitLog("server out", func(l line) bool { return l.number("failures") == 2 })
	if rest := again.number("cooldown"); rest < 0.7 || rest > 0.8 {
		t.Errorf("the second failure in a row costs %gs, want twice 0.4s less jitter", rest)
	}
	eventually(t, "the cooldown is over again", func() bool { return b.available() == 2 })
	b.mustServe(false, first)
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		header, value string
		want          float64 // seconds
	}{
		{"Retry-After", "1", 1},
		{"Retry-After", "1800", 1800},
		{"Retry-After-Ms", "1500", 1.5},
	} {
		t.Run(test.header+" "+test.value, func(t *testing.T) {
			t.Parallel()
			first, second := newFake(t, "first"), newFake(t, "second")
			first.Script(status(429, test.header, test.value))
			b := start(t, fallback(first.entry(), second.entry()))
			asked := time.Now()
			b.mustServe(false, second)
			if out := b.waitLog("server out", nil); out.number("cooldown") != test.want {
				t.Errorf("rests for %gs, want %gs", out.number("cooldown"), test.want)
			}
			if test.want > 10 {
				return
			}
			eventually(t, "the server is available again", func() bool { return b.available() == 2 })
			if rested := time.Since(asked).Seconds(); rested < test.want {
				t.Errorf("available again after %gs, want %gs", rested, test.want)
			}
			b.mustServe(false, first)
		})
	}
}

// TestClientErrors checks errors of the client: it gets them unchanged, and no server gets a
// cooldown.
func TestClientErrors(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 404, 413, 422} {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d/stream=%t", code, stream), func(t *testing.T) {
				t.Parallel()
				first, second := newFake(t, "first"), newFake(t, "second")
				body := fmt.Sprintf(`{ "type":"error", "error":{"type":"invalid_request_error","message":"número %d \u00e9"},"odd":[1, 2]}`+"\n", code)
				injected := status(code, "Request-Id", "req_011ABC", "Anthropic-Ratelimit-Requests-Remaining", "17",
					"X-Should-Retry", "false", "Retry-After", "7", "Date", "Mon, 02 Mar 2026 10:00:00 GMT")
				injected.Body = body
				first.Script(injected)
				b := start(t, fallback(first.entry(), second.entry()))

				got := b.ask(stream)
				if got.err != nil || got.status != code || string(got.body) != body {
					t.Errorf("status %d, err %v, body %q, want %d and %q", got.status, got.err, got.body, code, body)
				}
				for name, want := range injected.Headers {
					if got.header.Get(name) != want {
						t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
					}
				}
				if second.count() != 0 || b.available() != 2 {
					t.Errorf("%d requests to the second server and %d available, want 0 and 2", second.count(), b.available())
				}
				b.mustServe(stream, first)
			})
		}
	}
}

// TestNothingLeft has no server that responds: the error is the balancer's, with a retry-after.
func TestNothingLeft(t *testing.T) {
	t.Parallel()
	refusing := newFake(t, "refusing")
	refusing.fails(status(401))
	b := start(t, balanced("round_robin", deadEntry(t).with("name", "dead-1"), deadEntry(t).with("name", "dead-2"), refusing.entry()))
	for _, stream := range []bool{true, false} {
		a := b.ask(stream)
		a.failure(t, http.StatusServiceUnavailable, claude.ErrAPI)
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil || seconds < 1 || seconds > 60 {
			t.Errorf("retry-after %q, want whole seconds from 1 to 60", a.header.Get("Retry-After"))
		}
		if bytes.Contains(a.body, []byte("127.0.0.1")) || bytes.Contains(a.body, []byte(refusing.token)) {
			t.Errorf("the error tells addresses or tokens: %s", a.body)
		}
	}
	if a := b.get("/health"); a.status != http.StatusServiceUnavailable {
		t.Errorf("/health: status %d with every server out, want 503", a.status)
	}
}

// TestLastRefusal checks that the client gets the last upstream's refusal, because no other
// upstream can serve the request.
func TestLastRefusal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		fault  fault.Fault
		stream bool
		status int
		kind   claude.ErrorType
		wait   string // at least
	}{
		{"overloaded", status(529), false, 529, claude.ErrOverloaded, "1"},
		{"rate limit", status(429, "Retry-After", "3"), true, 429, claude.ErrRateLimit, "3"},
		{"error event", fault.Fault{Kind: fault.Error}, true, 529, claude.ErrOverloaded, "1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			first, last := newFake(t, "first"), newFake(t, "last")
			first.fails(status(500))
			last.fails(test.fault)
			b := start(t, fallback(first.entry(), last.entry()).with("max_wait", 0))
			a := b.ask(test.stream)
			a.failure(t, test.status, test.kind)
			if got := a.header.Get("Retry-After"); got < test.wait || got > "4" {
				t.Errorf("retry-after %q, want the earliest return, %s or a little more", got, test.wait)
			}
		})
	}
}

// TestLastServerStanding checks that the only server is tried during its cooldown, and serves as
// soon as it can.
func TestLastServerStanding(t *testing.T) {
	t.Parallel()
	only := newFake(t, "only")
	only.Script(status(500), status(500))
	b := start(t, balanced("round_robin", only.entry()))
	for range 2 {
		b.ask(false).failure(t, 500, claude.ErrAPI)
	}
	b.mustServe(true, only)
	if only.count() != 3 {
		t.Errorf("%d requests arrived, want all 3", only.count())
	}
}

// TestOverloadIsWaitedOut checks that an overload of seconds is hidden from the client.
func TestOverloadIsWaitedOut(t *testing.T) {
	t.Parallel()
	only := newFake(t, "only")
	only.Script(status(529), status(429, "Retry-After", "1"))
	b := start(t, balanced("round_robin", only.entry()))
	b.mustServe(true, only)
	if only.count() != 3 {
		t.Errorf("%d requests arrived, want all 3", only.count())
	}
}

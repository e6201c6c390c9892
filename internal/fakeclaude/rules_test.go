package fakeclaude

import (
	"net/http"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

func overloaded() fault.Fault { return fault.Fault{Kind: fault.Status, Status: 529} }

// overloads sends n requests and returns how many were overloaded.
func overloads(t *testing.T, s *Server, n int, request string) int {
	t.Helper()
	count := 0
	for range n {
		if direct(t, s, request).status == 529 {
			count++
		}
	}
	return count
}

func TestProbability(t *testing.T) {
	s := New(Options{Seed: 3})
	s.SetFaults(fault.Rule{Fault: overloaded(), Probability: 0.2})
	if n := overloads(t, s, 1000, body(false, "")); n < 160 || n > 240 {
		t.Errorf("%d of 1000 failed, want about 200", n)
	}
	s.SetFaults()
	if n := overloads(t, s, 50, body(false, "")); n != 0 {
		t.Errorf("%d failed without rules", n)
	}
}

func TestFirstRuleThatAppliesDecides(t *testing.T) {
	s := New(Options{})
	s.SetFaults(
		fault.Rule{Fault: fault.Fault{Kind: fault.Status, Status: 500}, Count: 2},
		fault.Rule{Fault: overloaded(), Count: 1},
	)
	for i, want := range []int{500, 500, 529, 200} {
		if got := direct(t, s, body(false, "")).status; got != want {
			t.Errorf("request %d: status %d, want %d", i, got, want)
		}
	}
}

func TestConditions(t *testing.T) {
	yes, no := true, false
	f := func(r fault.Rule, stream bool, want bool) {
		t.Helper()
		s := New(Options{})
		r.Fault = overloaded()
		s.SetFaults(r)
		if got := direct(t, s, body(stream, "")).status == 529; got != want {
			t.Errorf("%+v, stream %t: applies is %t", r, stream, got)
		}
	}
	f(fault.Rule{}, false, true)
	f(fault.Rule{Stream: &yes}, false, false)
	f(fault.Rule{Stream: &yes}, true, true)
	f(fault.Rule{Stream: &no}, true, false)
	f(fault.Rule{Model: "claude-sonnet-*"}, false, true)
	f(fault.Rule{Model: "claude-opus-*"}, false, false)
	f(fault.Rule{Path: "/v1/messages"}, false, true)
	f(fault.Rule{Path: "/v1/messages/*"}, false, false)
}

func TestTimeWindow(t *testing.T) {
	clock := NewManualClock(midnight())
	s := New(Options{Clock: clock})
	clock.Advance(time.Hour)
	s.SetFaults(fault.Rule{Fault: overloaded(), From: Duration(10 * time.Second), Until: Duration(20 * time.Second)})
	f := func(wait time.Duration, want int) {
		t.Helper()
		clock.Advance(wait)
		if got := direct(t, s, body(false, "")).status; got != want {
			t.Errorf("at %s: status %d, want %d", clock.Now(), got, want)
		}
	}
	f(0, 200)
	f(10*time.Second-1, 200)
	f(1, 529)
	f(10*time.Second-1, 529)
	f(1, 200)
}

func TestScriptHasPrecedenceOverRules(t *testing.T) {
	s := New(Options{})
	s.SetFaults(fault.Rule{Fault: overloaded()})
	s.Script(fault.Fault{}, fault.Fault{Kind: fault.Status, Status: 500}, fault.Fault{})
	newRecorder(s, newRequest(t, "HEAD", "http://fake/", "")) // not under /v1/: takes no fault
	for i, want := range []int{200, 500, 200, 529} {
		if got := direct(t, s, body(false, "")).status; got != want {
			t.Errorf("request %d: status %d, want %d", i, got, want)
		}
	}
}

func TestInvalidFaultsPanic(t *testing.T) {
	f := func(name string, set func(*Server)) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		set(New(Options{}))
	}
	f("rule", func(s *Server) { s.SetFaults(fault.Rule{}) })
	f("settings", func(*Server) { New(Options{Settings: Settings{MaxOutput: -1}}) })
	f("script", func(s *Server) { s.Script(fault.Fault{Kind: "explode"}) })
}

func TestSameSeedGivesSameResponses(t *testing.T) {
	run := func(seed uint64) (bodies []string) {
		s := New(Options{Seed: seed})
		s.SetFaults(fault.Rule{Fault: overloaded(), Probability: 0.3})
		for i := range 30 {
			got := direct(t, s, body(i%2 == 0, bashTool+","+thinking))
			bodies = append(bodies, http.StatusText(got.status)+got.header.Get("Request-Id")+string(got.body))
		}
		return bodies
	}
	one, again, other := run(1), run(1), run(2)
	same := 0
	for i := range one {
		if one[i] != again[i] {
			t.Errorf("request %d differs between two runs of one seed", i)
		}
		if one[i] == other[i] {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d responses do not depend on the seed", same)
	}
}

func TestContentDependsOnlyOnTheRequest(t *testing.T) {
	s := New(Options{Seed: 5})
	content := func(request string) string {
		_, _, datas := replay(direct(t, s, request).body)
		var all string
		for _, d := range datas[1:] { // without message_start, whose id is always new
			all += string(d)
		}
		return all
	}
	first := content(body(true, thinking))
	if content(body(true, `"metadata":{}`)) == first {
		t.Error("another request gets the same words")
	}
	if content(body(true, thinking)) != first {
		t.Error("the same request gets other words")
	}
}

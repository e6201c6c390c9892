package upstream

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"syscall"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// TestSidesJudgeOnlyThemselves checks that responses on other paths do not affect messages and
// availability.
func TestSidesJudgeOnlyThemselves(t *testing.T) {
	message, count := Subject{Model: opus}, Subject{Path: claude.PathCountTokens, Model: opus}
	f := func(o Outcome, want Unfit, otherModel Unfit) {
		t.Helper()
		e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
		attempt(t, e, count, o, t0)
		if v := e.View(t0, message); v.Unfit != Fit {
			t.Errorf("%v: messages: %s", o.Scope, v.Unfit)
		}
		if v := e.Overall(t0); v.Unfit != Fit || v.Ejected {
			t.Errorf("%v: overall: %+v", o.Scope, v)
		}
		if v := e.View(t0, Subject{Path: claude.PathModels}); v.Unfit != Fit || v.Avoid {
			t.Errorf("%v: another path: %+v", o.Scope, v)
		}
		if v := e.View(t0, count); v.Unfit != want {
			t.Errorf("%v: the same path: %s, want %s", o.Scope, v.Unfit, want)
		}
		if v := e.View(t0, Subject{Path: claude.PathCountTokens, Model: haiku}); v.Unfit != otherModel {
			t.Errorf("%v: another model: %s, want %s", o.Scope, v.Unfit, otherModel)
		}
		later := t0.Add(time.Hour)
		attempt(t, e, count, Outcome{}, later)
		if v := e.View(later, count); v.Unfit != Fit {
			t.Errorf("%v: after a success: %s", o.Scope, v.Unfit)
		}
	}
	f(Outcome{}, Fit, Fit)
	f(Outcome{Scope: ScopeRequest}, Fit, Fit)
	f(Outcome{Scope: ScopeEndpoint}, Cooling, Cooling)
	f(Outcome{Scope: ScopeCredential}, Cooling, Cooling)
	f(Outcome{Scope: ScopeAccount}, Cooling, Cooling)
	f(Outcome{Scope: ScopeRateLimit}, RateLimited, Fit)
	f(Outcome{Scope: ScopeCapacity}, RateLimited, Fit)
	f(Outcome{Scope: ScopeModel}, ModelOut, Fit)
}

func TestConnectionFailuresOfASideAreShared(t *testing.T) {
	count := Subject{Path: claude.PathCountTokens}
	e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
	attempt(t, e, count, Judge(Evidence{Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Path: count.Path}), t0)
	for _, s := range []Subject{{Model: opus}, count, {Path: claude.PathModels}} {
		if v := e.View(t0, s); v.Unfit != Cooling {
			t.Errorf("%q: %+v", s.Path, v)
		}
	}
	// Its success proves nothing about messages, and takes no half-open permit from them.
	later := t0.Add(2 * time.Minute)
	side, ok := e.Acquire(later, count)
	if !ok {
		t.Fatal("half-open: not fit for another path")
	}
	message, ok := e.Acquire(later, Subject{Model: opus})
	if !ok {
		t.Fatal("half-open: the one message is not let through")
	}
	side.Settle(t.Context(), Outcome{}, later)
	side.Release()
	if v := e.View(later, Subject{Model: opus}); v.Unfit != Probing {
		t.Errorf("while the message is under way: %s", v.Unfit)
	}
	message.Settle(t.Context(), Outcome{}, later)
	message.Release()
	if v := e.View(later, Subject{Model: opus}); v.Unfit != Fit {
		t.Errorf("after the message: %s", v.Unfit)
	}
}

// TestOutForMessagesIsAvoided checks that such a server may serve other paths, as the last choice.
func TestOutForMessagesIsAvoided(t *testing.T) {
	for _, o := range []Outcome{{Scope: ScopeEndpoint}, {Scope: ScopeCredential}, {Scope: ScopeAccount}, {Scope: ScopeModel}} {
		e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
		attempt(t, e, Subject{Model: opus}, o, t0)
		if v := e.View(t0, Subject{Path: claude.PathCountTokens, Model: opus}); v.Unfit != Fit || !v.Avoid {
			t.Errorf("%v: %+v", o.Scope, v)
		}
	}
	for _, o := range []Outcome{{Scope: ScopeRateLimit}, {Scope: ScopeCapacity}} {
		e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
		attempt(t, e, Subject{Model: opus}, o, t0)
		if v := e.View(t0, Subject{Path: claude.PathCountTokens, Model: opus}); v.Unfit != Fit || v.Avoid {
			t.Errorf("%v: %+v", o.Scope, v)
		}
	}
}

// TestSidesTeachNoLimits: count_tokens has separate rate limits (token-counting docs).
func TestSidesTeachNoLimits(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
	lease, _ := e.Acquire(t0, Subject{Path: claude.PathCountTokens, Model: opus})
	lease.Learn(http.StatusOK, http.Header{
		"Anthropic-Ratelimit-Requests-Limit": {"100"}, "Anthropic-Ratelimit-Requests-Remaining": {"0"},
		"Anthropic-Ratelimit-Requests-Reset": {t0.Add(time.Minute).Format(time.RFC3339)},
	}, t0)
	lease.Settle(t.Context(), Outcome{}, t0)
	lease.Release()
	if v := e.View(t0, Subject{Model: opus}); v.Unfit != Fit || v.Headroom != 1 {
		t.Errorf("%+v", v)
	}
}

func TestForgiveASide(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
	count := Subject{Path: claude.PathCountTokens, Body: 1}
	lease := attempt(t, e, count, Outcome{Scope: ScopeEndpoint}, t0)
	if !lease.Forgive(t0) || e.View(t0, count).Unfit != Fit {
		t.Error("not forgiven")
	}
	attempt(t, e, count, Outcome{Scope: ScopeEndpoint}, t0)
	other := attempt(t, e, Subject{Path: claude.PathCountTokens, Body: 2}, Outcome{Scope: ScopeEndpoint}, t0.Add(time.Second))
	if other.Forgive(t0.Add(time.Second)) || e.View(t0.Add(time.Second), count).Unfit != Cooling {
		t.Error("forgiven although two bodies failed")
	}
}

func TestSidesAreBounded(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
	for i := range 10 * maxSides {
		attempt(t, e, Subject{Path: fmt.Sprint("p", i)}, Outcome{Scope: ScopeEndpoint}, t0)
	}
	if n := len(e.learned.sides); n > maxSides {
		t.Errorf("%d path classes are remembered", n)
	}
}

func TestJudgeOfASide(t *testing.T) {
	f := func(path string, status int, e *claude.Error, want Scope) {
		t.Helper()
		if got := Judge(Evidence{Path: path, Status: status, Error: e, Model: opus, Now: t0}); got.Scope != want {
			t.Errorf("%q, status %d: %v, want %v", path, status, got.Scope, want)
		}
	}
	missing := &claude.Error{Type: claude.ErrNotFound, Message: "model: " + opus}
	for _, path := range []string{claude.PathCountTokens, claude.PathModels} {
		for _, status := range []int{404, 405, 501} {
			f(path, status, nil, ScopeEndpoint)
			f(path, status, &claude.Error{Type: claude.ErrNotFound, Message: "Not found"}, ScopeEndpoint)
		}
		f(path, 404, missing, ScopeModel)
		f(path, 400, &claude.Error{Type: claude.ErrInvalidRequest}, ScopeRequest)
	}
	f("model", 404, missing, ScopeModel)
	for _, status := range []int{404, 405} {
		f("mcp_servers", status, &claude.Error{Type: claude.ErrNotFound, Message: "Not found"}, ScopeRequest)
		if got := Judge(Evidence{Path: "mcp_servers", Status: status, Now: t0}); !got.Doubtful {
			t.Errorf("an unknown path, status %d: %+v", status, got)
		}
	}
	f("files", 404, &claude.Error{Type: claude.ErrNotFound, Message: "File not found"}, ScopeRequest)
}

func TestWhatIsAFailureOfTheConnection(t *testing.T) {
	f := func(err error, status int, want bool) {
		t.Helper()
		if o := Judge(Evidence{Err: err, Status: status}); o.Connection != want || o.Scope != ScopeEndpoint {
			t.Errorf("%v after status %d: %+v", err, status, o)
		}
	}
	f(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, 0, true)
	f(&net.OpError{Op: "read", Err: syscall.ECONNRESET}, 0, true)
	f(&net.OpError{Op: "read", Err: syscall.ECONNRESET}, 200, false)
	f(fmt.Errorf("read: %w", io.EOF), 0, true)
	f(textproto.ProtocolError("malformed header"), 0, false)
	f(&TimeoutError{Waiting: "answer", After: time.Second}, 0, false)
	f(fmt.Errorf("%w: status 302", ErrUnusable), 302, false)
}

func TestAnthropicsOwnHosts(t *testing.T) {
	for host, want := range map[string]bool{
		"api.anthropic.com": true, "API.Anthropic.COM": true, "api.anthropic.com.": true, "eu.api.anthropic.com": true,
		"anthropic.com.evil.example": false, "xanthropic.com": false, "api.anthropic.com.cn": false, "127.0.0.1": false, "localhost": false, "": false,
	} {
		if isAnthropic(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}

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
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// TestPathsHaveSeparateState checks that responses on other paths do not affect messages and the
// general availability.
func TestPathsHaveSeparateState(t *testing.T) {
	message, count := Subject{Model: opus}, Subject{Path: claude.PathCountTokens, Model: opus}
	f := func(o verdict.Outcome, want Unfit, otherModel Unfit) {
		t.Helper()
		e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
		attempt(t, e, count, o, t0)
		if v := e.View(t0, message); v.Unfit != Fit {
			t.Errorf("%v: messages: %s", o.Scope, v.Unfit)
		}
		if v := e.ViewAny(t0); v.Unfit != Fit || v.Ejected {
			t.Errorf("%v: any subject: %+v", o.Scope, v)
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
		attempt(t, e, count, verdict.Outcome{}, later)
		if v := e.View(later, count); v.Unfit != Fit {
			t.Errorf("%v: after a success: %s", o.Scope, v.Unfit)
		}
	}
	f(verdict.Outcome{}, Fit, Fit)
	f(verdict.Outcome{Scope: verdict.ScopeRequest}, Fit, Fit)
	f(verdict.Outcome{Scope: verdict.ScopeEndpoint}, Cooling, Cooling)
	f(verdict.Outcome{Scope: verdict.ScopeCredential}, Cooling, Cooling)
	f(verdict.Outcome{Scope: verdict.ScopeAccount}, Cooling, Cooling)
	f(verdict.Outcome{Scope: verdict.ScopeRateLimit}, RateLimited, Fit)
	f(verdict.Outcome{Scope: verdict.ScopeCapacity}, RateLimited, Fit)
	f(verdict.Outcome{Scope: verdict.ScopeModel}, ModelOut, Fit)
}

func TestConnectionFailureOnPath(t *testing.T) {
	count := Subject{Path: claude.PathCountTokens}
	e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
	attempt(t, e, count, verdict.Judge(verdict.Evidence{Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Path: count.Path}), t0)
	for _, s := range []Subject{{Model: opus}, count, {Path: claude.PathModels}} {
		if v := e.View(t0, s); v.Unfit != Cooling {
			t.Errorf("%q: %+v", s.Path, v)
		}
	}
	// A success on the path proves nothing about messages, and does not use their half-open permit.
	later := t0.Add(2 * time.Minute)
	other, ok := e.Acquire(later, count)
	if !ok {
		t.Fatal("half-open: not fit for another path")
	}
	message, ok := e.Acquire(later, Subject{Model: opus})
	if !ok {
		t.Fatal("half-open: the probe by a message was not admitted")
	}
	other.Settle(t.Context(), verdict.Outcome{}, later)
	other.Release()
	if v := e.View(later, Subject{Model: opus}); v.Unfit != Probing {
		t.Errorf("while the message is in flight: %s", v.Unfit)
	}
	message.Settle(t.Context(), verdict.Outcome{}, later)
	message.Release()
	if v := e.View(later, Subject{Model: opus}); v.Unfit != Fit {
		t.Errorf("after the message: %s", v.Unfit)
	}
}

// TestOutForMessagesIsAvoided checks that a server that accepts no messages may serve other paths,
// as the last choice.
func TestOutForMessagesIsAvoided(t *testing.T) {
	for _, o := range []verdict.Outcome{{Scope: verdict.ScopeEndpoint}, {Scope: verdict.ScopeCredential}, {Scope: verdict.ScopeAccount}, {Scope: verdict.ScopeModel}} {
		e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
		attempt(t, e, Subject{Model: opus}, o, t0)
		if v := e.View(t0, Subject{Path: claude.PathCountTokens, Model: opus}); v.Unfit != Fit || !v.Avoid {
			t.Errorf("%v: %+v", o.Scope, v)
		}
	}
	for _, o := range []verdict.Outcome{{Scope: verdict.ScopeRateLimit}, {Scope: verdict.ScopeCapacity}} {
		e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
		attempt(t, e, Subject{Model: opus}, o, t0)
		if v := e.View(t0, Subject{Path: claude.PathCountTokens, Model: opus}); v.Unfit != Fit || v.Avoid {
			t.Errorf("%v: %+v", o.Scope, v)
		}
	}
}

// TestPathsDoNotUpdateLimits: count_tokens has separate rate limits (token-counting docs).
func TestPathsDoNotUpdateLimits(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
	lease, _ := e.Acquire(t0, Subject{Path: claude.PathCountTokens, Model: opus})
	lease.UpdateFromHeader(http.StatusOK, http.Header{
		"Anthropic-Ratelimit-Requests-Limit": {"100"}, "Anthropic-Ratelimit-Requests-Remaining": {"0"},
		"Anthropic-Ratelimit-Requests-Reset": {t0.Add(time.Minute).Format(time.RFC3339)},
	}, t0)
	lease.Settle(t.Context(), verdict.Outcome{}, t0)
	lease.Release()
	if v := e.View(t0, Subject{Model: opus}); v.Unfit != Fit || v.Headroom != 1 {
		t.Errorf("%+v", v)
	}
}

func TestForgiveOnPath(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
	count := Subject{Path: claude.PathCountTokens, Body: 1}
	lease := attempt(t, e, count, verdict.Outcome{Scope: verdict.ScopeEndpoint}, t0)
	if !lease.Forgive(t0) || e.View(t0, count).Unfit != Fit {
		t.Error("not forgiven")
	}
	attempt(t, e, count, verdict.Outcome{Scope: verdict.ScopeEndpoint}, t0)
	other := attempt(t, e, Subject{Path: claude.PathCountTokens, Body: 2}, verdict.Outcome{Scope: verdict.ScopeEndpoint}, t0.Add(time.Second))
	if other.Forgive(t0.Add(time.Second)) || e.View(t0.Add(time.Second), count).Unfit != Cooling {
		t.Error("forgiven although two bodies failed")
	}
}

func TestPathsAreBounded(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t1"))[0]
	for i := range 10 * maxPaths {
		attempt(t, e, Subject{Path: fmt.Sprint("p", i)}, verdict.Outcome{Scope: verdict.ScopeEndpoint}, t0)
	}
	if n := len(e.state.paths); n > maxPaths {
		t.Errorf("%d path classes are remembered", n)
	}
}

func TestJudgeOnPath(t *testing.T) {
	f := func(path string, status int, e *claude.Error, want verdict.Scope) {
		t.Helper()
		if got := verdict.Judge(verdict.Evidence{Path: path, Status: status, Error: e, Model: opus, Now: t0}); got.Scope != want {
			t.Errorf("%q, status %d: %v, want %v", path, status, got.Scope, want)
		}
	}
	missing := &claude.Error{Type: claude.ErrNotFound, Message: "model: " + opus}
	for _, path := range []string{claude.PathCountTokens, claude.PathModels} {
		for _, status := range []int{404, 405, 501} {
			f(path, status, nil, verdict.ScopeEndpoint)
			f(path, status, &claude.Error{Type: claude.ErrNotFound, Message: "Not found"}, verdict.ScopeEndpoint)
		}
		f(path, 404, missing, verdict.ScopeModel)
		f(path, 400, &claude.Error{Type: claude.ErrInvalidRequest}, verdict.ScopeRequest)
	}
	f("model", 404, missing, verdict.ScopeModel)
	for _, status := range []int{404, 405} {
		f("mcp_servers", status, &claude.Error{Type: claude.ErrNotFound, Message: "Not found"}, verdict.ScopeRequest)
		if got := verdict.Judge(verdict.Evidence{Path: "mcp_servers", Status: status, Now: t0}); !got.Ambiguous {
			t.Errorf("an unknown path, status %d: %+v", status, got)
		}
	}
	f("files", 404, &claude.Error{Type: claude.ErrNotFound, Message: "File not found"}, verdict.ScopeRequest)
}

func TestConnectionFailure(t *testing.T) {
	f := func(err error, status int, want bool) {
		t.Helper()
		if o := verdict.Judge(verdict.Evidence{Err: err, Status: status}); o.Connection != want || o.Scope != verdict.ScopeEndpoint {
			t.Errorf("%v after status %d: %+v", err, status, o)
		}
	}
	f(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, 0, true)
	f(&net.OpError{Op: "read", Err: syscall.ECONNRESET}, 0, true)
	f(&net.OpError{Op: "read", Err: syscall.ECONNRESET}, 200, false)
	f(fmt.Errorf("read: %w", io.EOF), 0, true)
	f(textproto.ProtocolError("malformed header"), 0, false)
	f(&verdict.TimeoutError{Waiting: "response", After: time.Second}, 0, false)
	f(fmt.Errorf("%w: status 302", verdict.ErrUnusable), 302, false)
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

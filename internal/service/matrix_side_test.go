package service

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// sidePaths are the paths other than /v1/messages that the matrix covers.
func sidePaths() []struct{ name, method, path, body, model string } {
	return []struct{ name, method, path, body, model string }{
		{"count_tokens", "POST", "/v1/messages/count_tokens?beta=true", matrixBody(false), matrixModel},
		{"models", "GET", "/v1/models?limit=1000", "", ""},
	}
}

// sideFaults are the faults that the matrix injects on those paths.
func sideFaults() []fault.Fault {
	var all []fault.Fault
	for _, status := range []int{401, 402, 403, 404, 405, 429, 500, 501, 502, 503, 529} {
		all = append(all, fault.Fault{Kind: fault.Status, Status: status})
	}
	for _, kind := range []fault.Kind{fault.HTML, fault.Empty} {
		all = append(all, fault.Fault{Kind: kind})
	}
	for _, form := range fault.Shapes() {
		all = append(all, fault.Fault{Kind: fault.Shape, Form: form})
	}
	for _, kind := range []fault.Kind{fault.Stall, fault.Reset, fault.Close} {
		all = append(all, fault.Fault{Kind: kind, At: fault.AtStart})
	}
	return all
}

// sharedBySides reports whether a fault on such a path also counts against the server itself. Over
// HTTP/2 it is one request that is reset, not the connection.
func sharedBySides(f fault.Fault, http2 bool) bool {
	return !http2 && (f.Kind == fault.Reset || f.Kind == fault.Close)
}

// TestSideMatrix checks that, if count_tokens or models fail on one server, the client gets the
// response of another. The failed server is not asked for that path again, and still gets messages
// unless its connections fail.
func TestSideMatrix(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for _, side := range sidePaths() {
			t.Run(fmt.Sprintf("http2=%v/%s", http2, side.name), func(t *testing.T) {
				t.Parallel()
				var cases sync.WaitGroup
				defer cases.Wait()
				for _, f := range sideFaults() {
					cases.Go(func() {
						s := newStage(t, 2, http2, map[string]any{"max_wait": 0})
						path, _, _ := strings.Cut(side.path, "?")
						s.fakes[0].SetFaults(fault.Rule{Fault: f, Path: path})
						status := s.call(side.method, side.path, side.body)
						s.awaitRecords()
						now, table := time.Now(), s.b.Handler.Current().Table
						first := table.Endpoints()[0]
						messages := first.View(now, upstream.Subject{Model: matrixModel})
						again := first.View(now, upstream.Subject{Path: side.name, Model: side.model})
						if status != http.StatusOK || (messages.Unfit == upstream.Fit) == sharedBySides(f, http2) || again.Unfit == upstream.Fit {
							t.Errorf("%s: status %d; then messages: %s, %s: %s", name(f), status, messages.Unfit, side.name, again.Unfit)
						}
					})
				}
			})
		}
	}
}

// TestNobodyCountsInTheMatrix checks that the client gets a 404 if no server counts tokens.
func TestNobodyCountsInTheMatrix(t *testing.T) {
	side := sidePaths()[0]
	for _, f := range sideFaults() {
		t.Run(name(f), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 1, false, map[string]any{"max_wait": 0})
			s.fakes[0].SetFaults(fault.Rule{Fault: f, Path: "/v1/messages/count_tokens"})
			if status := s.call(side.method, side.path, side.body); status != http.StatusNotFound {
				t.Errorf("status %d", status)
			}
		})
	}
}

// call sends a request for a path other than /v1/messages and returns the status.
func (s *stage) call(method, path, body string) int {
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.front.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return 0
	}
	r.Header.Set("Anthropic-Version", "2023-06-01")
	res, err := s.front.Client().Do(r)
	if err != nil {
		s.t.Error(err)
		return 0
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if _, ok := claude.ParseError(text); err != nil || res.StatusCode >= http.StatusBadRequest && !ok {
		s.t.Errorf("%s: status %d with %q, %v", path, res.StatusCode, text, err)
	}
	return res.StatusCode
}

const failoverSides = `
## Other paths

Responses on other paths than ` + "`POST /v1/messages`" + ` do not count for messages: they cause no cooldown for messages, and neither limits nor response times are learned from them. Each class of
paths (` + "`count_tokens`" + `, the list of models, batches, files, skills and so on) has a separate cooldown on each server, also after a refusal of the key or the account (401, 402, 403). Only failures of the
connection (no connection, TLS, a connection reset or closed before any response) also count against the server itself.

| On ` + "`count_tokens`" + ` or ` + "`GET /v1/models`" + ` | Another server is left | No other server is left | Messages |
| --- | --- | --- | --- |
| 401, 402, 403, 404, 405, 429, 5xx; a page, a redirect, an empty body, anything but JSON | hidden | see below | continue at the same server |
| no response within 1.5 s, 3 s at the last server, and 1 s more per megabyte of the request | hidden | see below | continue at the same server |
| no connection, TLS, a reset before any response | hidden | see below | cooldown of the server |
| 400, 413 and other refusals of the request | passed on | passed on | continue at the same server |
| 404, 405 on a path that is neither of the two, nor of batches, files or skills | hidden | passed on, after two alike | continue at the same server; no cooldown |
| 404 that names the model | hidden | see below | continue; cooldown of the model on this server, for this path only |

If no server is left, ` + "`count_tokens`" + ` ends with 404 ` + "`not_found_error`" + `, after which Claude Code estimates the tokens, and the list of models is the last one that the same client key got for the
same query, up to a day old, with ` + "`age`" + ` and ` + "`x-lb-cached: true`" + ` in its header. It is served after 2.5 s at the latest, because Claude Code waits for 3 s. Without a saved list the
client gets the servers' error. Neither of the two requests waits for a server in cooldown. A server that accepts no messages is used for other paths only if no other is left.
`

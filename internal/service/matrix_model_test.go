package service

import (
	"fmt"
	"slices"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// This file is the model of failover: the effect of an upstream's fault on the client and on the
// upstream's state. matrix_test.go compares the balancer with it in every combination, and
// docs/failover.md is printed from it.

// effect is what the balancer sees of a fault.
type effect uint8

const (
	harmless  effect = iota // the response is complete, if slow or compressed
	refusal                 // an explicit error before any content
	nothing                 // no usable response before any content: the connection breaks, or the response is not one of the API
	lateness                // silence beyond a limit before any content
	breakage                // the response breaks off after content was sent
	lastWords               // the upstream ends its response with an error event after content
)

// beforeContent reports whether a point of a stream comes before its first content.
func beforeContent(p fault.Point) bool {
	return p == fault.AtStart || p == fault.AtHeaders || p == fault.AtMessageStart
}

// effectOf is the first half of the model: the effect of a fault at a point. A plain response is
// buffered whole, so every fault comes before its content.
func effectOf(f fault.Fault, stream bool) effect {
	early := !stream || beforeContent(f.At)
	switch f.Kind {
	case fault.Status:
		return refusal
	case fault.HTML, fault.Empty:
		if f.Status != 0 {
			return refusal
		}
		return nothing
	case fault.Shape:
		return nothing
	case fault.Error:
		if early {
			return refusal
		}
		return lastWords
	case fault.Stall:
		if early {
			return lateness
		}
		return breakage
	case fault.Reset, fault.Close, fault.End:
		if early {
			return nothing
		}
		return breakage
	case fault.Malformed:
		if early {
			return nothing
		}
		return harmless // the bytes are forwarded unchanged
	default:
		return harmless
	}
}

// dialect is the effect of a fault with a vendor's or relay's text, or with headers that name a
// limit.
type dialect struct {
	fault.Fault
	title     string
	rest      upstream.Unfit
	ambiguous bool             // another upstream is tried, and the client gets two equal refusals
	passed    bool             // no other upstream is tried
	status    int              // if no upstream is left; 0: the client gets the refusal
	kind      claude.ErrorType // the type of that error
}

// dialects returns refusals of other vendors.
func dialects() []dialect {
	status := func(code int, body string) fault.Fault {
		return fault.Fault{Kind: fault.Status, Status: code, Body: body}
	}
	window := func(claim string) fault.Fault {
		return fault.Fault{Kind: fault.Status, Status: 429, Bare: true, Headers: map[string]string{
			"Retry-After": "3600", "Anthropic-Ratelimit-Unified-Status": "rejected", "Anthropic-Ratelimit-Unified-Representative-Claim": claim,
		}}
	}
	policy := fault.Fault{Kind: fault.Status, Type: "policy_blocked"}
	policyAt := func(code int) fault.Fault { f := policy; f.Status = code; return f }
	return []dialect{
		{Fault: status(503, `{"error":{"code":"model_not_found","message":"No available channel for model x","type":"new_api_error"}}`), title: "model_not_found", rest: upstream.ModelOut, status: 404, kind: claude.ErrNotFound},
		{Fault: status(400, `{"error":{"message":"当前分组 default 下对于模型 x 无可用渠道","type":"new_api_error"}}`), title: "无可用渠道", rest: upstream.ModelOut, status: 404, kind: claude.ErrNotFound},
		{Fault: status(404, "404 page not found"), title: "404 page not found", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
		{Fault: status(404, `{"error":{"message":"Invalid URL (POST /v1/messages)","type":"invalid_request_error"}}`), title: "Invalid URL", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
		{Fault: status(405, `{"detail":"Method Not Allowed"}`), title: "Method Not Allowed", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
		{Fault: status(400, `{"error":{"message":"Error from provider: Upstream request failed","type":"upstream_error"}}`), title: "Upstream request failed", ambiguous: true, kind: "upstream_error"},
		{Fault: status(403, `{"error":{"message":"用户额度不足","type":"new_api_error","code":"insufficient_user_quota"}}`), title: "insufficient_user_quota", rest: upstream.AccountOut, status: 503, kind: claude.ErrAPI},
		{Fault: status(429, `{"error":{"message":"Insufficient Balance","type":"insufficient_quota"}}`), title: "Insufficient Balance", rest: upstream.AccountOut, kind: "insufficient_quota"},
		{Fault: status(429, `{"error":{"message":"当前分组上游负载已饱和","type":"new_api_error"}}`), title: "上游负载已饱和", rest: upstream.Paused, kind: "new_api_error"},
		{Fault: window("five_hour"), title: "five-hour window used up", rest: upstream.AccountOut, kind: claude.ErrRateLimit},
		{Fault: window("seven_day_sonnet"), title: "window of this family used up", rest: upstream.RateLimited, kind: claude.ErrRateLimit},
		{Fault: policyAt(403), title: "policy_blocked", passed: true, kind: "policy_blocked"},
		{Fault: policyAt(503), title: "policy_blocked", passed: true, kind: "policy_blocked"},
		{Fault: fault.Fault{Kind: fault.Status, Status: 501, Type: "not_supported"}, title: "not_supported", ambiguous: true, kind: "not_supported"},
		{Fault: fault.Fault{Kind: fault.HTML, Status: 403}, title: "html", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
		{Fault: fault.Fault{Kind: fault.HTML, Status: 503}, title: "html", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
	}
}

// dialectOf returns the dialect of a fault.
func dialectOf(f fault.Fault) (dialect, bool) {
	for _, d := range dialects() {
		if d.Kind == f.Kind && d.Status == f.Status && d.Type == f.Type && d.Body == f.Body && d.Headers["Anthropic-Ratelimit-Unified-Representative-Claim"] == f.Headers["Anthropic-Ratelimit-Unified-Representative-Claim"] &&
			(f.Kind == fault.HTML || f.Body != "" || f.Type != "" || len(f.Headers) > 1) {
			return d, true
		}
	}
	return dialect{}, false
}

// kindOf returns the type of error in a refusal.
func kindOf(f fault.Fault) claude.ErrorType {
	if d, ok := dialectOf(f); ok {
		return d.kind
	}
	switch {
	case f.Type != "":
		return claude.ErrorType(f.Type)
	case f.Status != 0:
		return claude.TypeForStatus(f.Status)
	default:
		return claude.ErrOverloaded
	}
}

func statusOf(f fault.Fault) int {
	if f.Status != 0 {
		return f.Status
	}
	return claude.StatusForType(kindOf(f))
}

// unfitOf returns the state that a fault causes: the second half of the model.
func unfitOf(f fault.Fault, stream bool) upstream.Unfit {
	if d, ok := dialectOf(f); ok {
		return d.rest
	}
	switch effectOf(f, stream) {
	case harmless:
		return upstream.Fit
	case nothing, lateness, breakage:
		return upstream.Cooling
	}
	switch kind, status := kindOf(f), statusOf(f); {
	case kind == "policy_blocked":
		return upstream.Fit
	case kind == claude.ErrBilling, f.Code != "", f.Message != "": // the messages in faults concern accounts
		return upstream.AccountOut
	case kind == claude.ErrOverloaded:
		return upstream.Paused
	case kind == claude.ErrRateLimit:
		return upstream.RateLimited
	case kind == claude.ErrAuthentication, kind == claude.ErrPermission:
		return upstream.CredentialOut
	case status >= 500, status == 408:
		return upstream.Cooling
	default:
		return upstream.Fit
	}
}

// isPassedOn reports whether the client gets the fault.
func isPassedOn(f fault.Fault, stream bool) bool {
	if d, ok := dialectOf(f); ok {
		return d.passed
	}
	e := effectOf(f, stream)
	return e == harmless || e == breakage || e == lastWords || e == refusal && unfitOf(f, stream) == upstream.Fit
}

// twiceAtMost reports whether the second upstream with the fault ends the request. A slow response
// may be billed, so there are at most two, and two equal ambiguous refusals are a fault of the
// request.
func twiceAtMost(f fault.Fault, stream bool) bool {
	d, _ := dialectOf(f)
	return d.ambiguous || effectOf(f, stream) == lateness
}

// view is the visible result of one request.
type view struct {
	whole     bool             // the client has a complete response of the upstream that served it
	truncated bool             // content, then an error event; cut reports whether the connection was broken too
	cut       bool             //
	status    int              // of an error
	kind      claude.ErrorType // of an error
	asked     []int            // attempts by upstream
	standing  []upstream.Unfit // states afterwards by upstream
}

// expect returns the model's result: n upstreams in the order of priority, all with the fault
// except the last one if it is healthy.
func expect(f fault.Fault, stream bool, n int, healthy bool) view {
	v := view{asked: make([]int, n), standing: make([]upstream.Unfit, n)}
	faulty := n
	if healthy {
		faulty--
	}
	asked := faulty
	switch {
	case isPassedOn(f, stream):
		asked = 1
	case twiceAtMost(f, stream):
		asked = min(asked, 2)
	}
	if faulty == 0 {
		asked = 0
	}
	for i := range asked {
		v.asked[i], v.standing[i] = 1, unfitOf(f, stream)
	}
	if healthy && (asked == 0 || !isPassedOn(f, stream)) && !(twiceAtMost(f, stream) && asked == 2) {
		v.asked[n-1], v.whole = 1, true
		return v
	}
	if faulty > 1 && mayBeRequest(f, stream) {
		clear(v.standing) // all of them failed alike on one request: the request is at fault
	}
	v.failure(f, stream)
	return v
}

// allows compares with expect, except for what timing decides: an error event that arrives together
// with the first content, before anything was sent to the client, can still be hidden.
func allows(f fault.Fault, stream bool, n int, healthy bool, got view) bool {
	if got.equal(expect(f, stream, n, healthy)) {
		return true
	}
	if effectOf(f, stream) != lastWords {
		return false
	}
	sooner := f
	sooner.At = fault.AtHeaders
	want := expect(sooner, stream, n, healthy)
	if got.truncated { // hidden at some upstreams and not at the last one
		hidden := want
		want = expect(f, stream, n, healthy)
		for i, asked := range got.asked {
			if asked > 0 {
				want.asked[i], want.standing[i] = hidden.asked[i], unfitOf(f, stream)
			}
		}
	}
	return got.equal(want)
}

// failure sets what the client gets if no upstream hides the fault.
func (v *view) failure(f fault.Fault, stream bool) {
	switch effectOf(f, stream) {
	case harmless:
		v.whole = true
	case breakage:
		v.truncated, v.cut = true, true
	case lastWords:
		v.truncated, v.kind = true, kindOf(f)
	case lateness:
		v.status, v.kind = 504, claude.ErrTimeout
	case nothing:
		v.status, v.kind = 503, claude.ErrAPI
	case refusal:
		v.status, v.kind = statusOf(f), kindOf(f)
		if d, ok := dialectOf(f); ok {
			if d.status != 0 {
				v.status = d.status
			}
			return
		}
		if rest := unfitOf(f, stream); rest == upstream.CredentialOut || rest == upstream.AccountOut && statusOf(f) != 429 {
			v.status, v.kind = 503, claude.ErrAPI // the client cannot correct the balancer's key
		}
		if stream && f.Kind == fault.Error && unfitOf(f, stream) == upstream.Fit {
			v.status, v.truncated = 0, true // the stream's error is forwarded unchanged
		}
	}
}

// mayBeRequest reports whether the request may have caused the fault.
func mayBeRequest(f fault.Fault, stream bool) bool {
	if d, ok := dialectOf(f); ok && d.rest == upstream.Cooling || f.Kind == fault.Shape {
		return true // a page or a missing path: a firewall may respond so because of the request
	}
	if effectOf(f, stream) == refusal {
		return unfitOf(f, stream) == upstream.Cooling && statusOf(f) >= 500
	}
	return effectOf(f, stream) == nothing && f.At == fault.AtStart && (f.Kind == fault.Reset || f.Kind == fault.Close)
}

// faults returns all faults of the matrix.
func faults() []fault.Fault {
	var all []fault.Fault
	for _, status := range []int{400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 520, 529} {
		all = append(all, fault.Fault{Kind: fault.Status, Status: status})
	}
	all = append(all,
		fault.Fault{Kind: fault.Status, Status: 429, Bare: true},
		fault.Fault{Kind: fault.Status, Status: 429, Headers: map[string]string{"Retry-After": "120"}},
		fault.Fault{Kind: fault.Status, Status: 429, Code: "enforced_spend_limit_reached"},
		fault.Fault{Kind: fault.Status, Status: 400, Message: "Your credit balance is too low to access the Anthropic API."},
		fault.Fault{Kind: fault.Status, Status: 400, Message: "This organization has been disabled."},
	)
	for _, kind := range fault.Kinds() {
		switch kind {
		case fault.Status:
		case fault.Empty, fault.HTML:
			all = append(all, fault.Fault{Kind: kind})
		case fault.Gzip:
			for _, coding := range fault.Codings() {
				all = append(all, fault.Fault{Kind: kind, Coding: coding})
			}
		case fault.Trickle:
			all = append(all, fault.Fault{Kind: kind, Delay: 1_000_000, Bytes: 512})
		case fault.Shape:
			for _, form := range fault.Shapes() {
				all = append(all, fault.Fault{Kind: kind, Form: form})
			}
		case fault.Dialect:
			for _, form := range fault.Dialects() {
				all = append(all, fault.Fault{Kind: kind, Form: form})
			}
		default:
			all = append(all, atEveryPoint(kind)...)
		}
	}
	for _, d := range dialects() {
		all = append(all, d.Fault)
	}
	all = append(all, fault.Fault{Kind: fault.Error, Type: "policy_blocked", At: fault.AtMessageStart})
	for _, kind := range []claude.ErrorType{claude.ErrAPI, claude.ErrRateLimit, claude.ErrAuthentication, claude.ErrInvalidRequest} {
		for _, at := range []fault.Point{fault.AtMessageStart, fault.AtFirstBlock} {
			all = append(all, fault.Fault{Kind: fault.Error, Type: string(kind), At: at})
		}
	}
	return all
}

func atEveryPoint(kind fault.Kind) []fault.Fault {
	var all []fault.Fault
	for _, at := range fault.Points() {
		f := fault.Fault{Kind: kind, At: at}
		if kind == fault.Slow {
			f.Delay = 10_000_000
		}
		all = append(all, f)
	}
	return all
}

// name returns a fault's name in the documentation.
func name(f fault.Fault) string {
	if d, ok := dialectOf(f); ok {
		return fmt.Sprintf("status %d %s", f.Status, d.title)
	}
	switch {
	case f.Kind == fault.Status && f.Code != "":
		return fmt.Sprintf("status %d %s", f.Status, f.Code)
	case f.Kind == fault.Status && f.Message != "":
		return fmt.Sprintf("status %d %q", f.Status, f.Message)
	case f.Kind == fault.Status && f.Bare:
		return fmt.Sprintf("status %d bare", f.Status)
	case f.Kind == fault.Status && len(f.Headers) > 0:
		return fmt.Sprintf("status %d with retry-after", f.Status)
	case f.Kind == fault.Status:
		return fmt.Sprintf("status %d", f.Status)
	case f.Coding+f.Form != "":
		return fmt.Sprintf("%s %s", f.Kind, f.Coding+f.Form)
	case f.Type != "":
		return fmt.Sprintf("%s %s at %s", f.Kind, f.Type, f.At)
	case f.At != "":
		return fmt.Sprintf("%s at %s", f.Kind, f.At)
	default:
		return string(f.Kind)
	}
}

func (v view) equal(w view) bool {
	return v.whole == w.whole && v.truncated == w.truncated && v.cut == w.cut && v.status == w.status && v.kind == w.kind &&
		slices.Equal(v.asked, w.asked) && slices.Equal(v.standing, w.standing)
}

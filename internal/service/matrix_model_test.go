package service

import (
	"fmt"
	"slices"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// This file is the model of failover: a few rules that say what a fault of an
// upstream does to the client and to the upstream's standing. matrix_test.go holds
// the balancer to it in every combination, and docs/failover.md is printed from it.

// effect is what a fault amounts to, seen from the balancer.
type effect uint8

const (
	harmless  effect = iota // the answer is whole, if slow or wrapped
	refusal                 // an error in so many words, before any content
	nothing                 // no answer: the connection breaks, the answer is none, before any content
	lateness                // silence beyond a limit, before any content
	breakage                // the answer breaks off after content has gone out
	lastWords               // the upstream itself ends its answer with an error event, after content
)

// beforeContent says whether a point of a stream comes before its first content.
func beforeContent(p fakeclaude.Point) bool {
	return p == fakeclaude.AtStart || p == fakeclaude.AtHeaders || p == fakeclaude.AtMessageStart
}

// effectOf is the first half of the model: fault and point decide what it amounts to.
// A plain answer is held whole, so that every fault comes before its content.
func effectOf(f fakeclaude.Fault, stream bool) effect {
	early := !stream || beforeContent(f.At)
	switch f.Kind {
	case fakeclaude.FaultStatus:
		return refusal
	case fakeclaude.FaultHTML, fakeclaude.FaultEmpty:
		if f.Status != 0 {
			return refusal
		}
		return nothing
	case fakeclaude.FaultShape:
		return nothing
	case fakeclaude.FaultError:
		if early {
			return refusal
		}
		return lastWords
	case fakeclaude.FaultStall:
		if early {
			return lateness
		}
		return breakage
	case fakeclaude.FaultReset, fakeclaude.FaultClose, fakeclaude.FaultEnd:
		if early {
			return nothing
		}
		return breakage
	case fakeclaude.FaultMalformed:
		if early {
			return nothing
		}
		return harmless // bytes are passed on as they are
	default:
		return harmless
	}
}

// dialect is the effect of a fault in a vendor's or relay's words, or with headers that name a limit.
type dialect struct {
	fakeclaude.Fault
	title    string
	rest     upstream.Unfit
	doubtful bool             // another upstream is asked, and two refusals alike are passed on
	passed   bool             // nobody else is asked
	status   int              // when no upstream is left; 0: the refusal is passed on
	kind     claude.ErrorType // the same, or the type that is passed on
}

// dialects are refusals in the words of other vendors.
func dialects() []dialect {
	status := func(code int, body string) fakeclaude.Fault {
		return fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: code, Body: body}
	}
	window := func(claim string) fakeclaude.Fault {
		return fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: 429, Bare: true, Headers: map[string]string{
			"Retry-After": "3600", "Anthropic-Ratelimit-Unified-Status": "rejected", "Anthropic-Ratelimit-Unified-Representative-Claim": claim,
		}}
	}
	policy := fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Type: "policy_blocked"}
	policyAt := func(code int) fakeclaude.Fault { f := policy; f.Status = code; return f }
	return []dialect{
		{Fault: status(503, `{"error":{"code":"model_not_found","message":"No available channel for model x","type":"new_api_error"}}`), title: "model_not_found", rest: upstream.ModelOut, status: 404, kind: claude.ErrNotFound},
		{Fault: status(400, `{"error":{"message":"当前分组 default 下对于模型 x 无可用渠道","type":"new_api_error"}}`), title: "无可用渠道", rest: upstream.ModelOut, status: 404, kind: claude.ErrNotFound},
		{Fault: status(404, "404 page not found"), title: "404 page not found", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
		{Fault: status(404, `{"error":{"message":"Invalid URL (POST /v1/messages)","type":"invalid_request_error"}}`), title: "Invalid URL", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
		{Fault: status(405, `{"detail":"Method Not Allowed"}`), title: "Method Not Allowed", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
		{Fault: status(400, `{"error":{"message":"Error from provider: Upstream request failed","type":"upstream_error"}}`), title: "Upstream request failed", doubtful: true, kind: "upstream_error"},
		{Fault: status(403, `{"error":{"message":"用户额度不足","type":"new_api_error","code":"insufficient_user_quota"}}`), title: "insufficient_user_quota", rest: upstream.AccountOut, status: 503, kind: claude.ErrAPI},
		{Fault: status(429, `{"error":{"message":"Insufficient Balance","type":"insufficient_quota"}}`), title: "Insufficient Balance", rest: upstream.AccountOut, kind: "insufficient_quota"},
		{Fault: status(429, `{"error":{"message":"当前分组上游负载已饱和","type":"new_api_error"}}`), title: "上游负载已饱和", rest: upstream.Paused, kind: "new_api_error"},
		{Fault: window("five_hour"), title: "five-hour window used up", rest: upstream.AccountOut, kind: claude.ErrRateLimit},
		{Fault: window("seven_day_sonnet"), title: "window of this family used up", rest: upstream.RateLimited, kind: claude.ErrRateLimit},
		{Fault: policyAt(403), title: "policy_blocked", passed: true, kind: "policy_blocked"},
		{Fault: policyAt(503), title: "policy_blocked", passed: true, kind: "policy_blocked"},
		{Fault: fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: 501, Type: "not_supported"}, title: "not_supported", doubtful: true, kind: "not_supported"},
		{Fault: fakeclaude.Fault{Kind: fakeclaude.FaultHTML, Status: 403}, title: "html", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
		{Fault: fakeclaude.Fault{Kind: fakeclaude.FaultHTML, Status: 503}, title: "html", rest: upstream.Cooling, status: 503, kind: claude.ErrAPI},
	}
}

// dialectOf finds the dialect of a fault.
func dialectOf(f fakeclaude.Fault) (dialect, bool) {
	for _, d := range dialects() {
		if d.Kind == f.Kind && d.Status == f.Status && d.Type == f.Type && d.Body == f.Body && d.Headers["Anthropic-Ratelimit-Unified-Representative-Claim"] == f.Headers["Anthropic-Ratelimit-Unified-Representative-Claim"] &&
			(f.Kind == fakeclaude.FaultHTML || f.Body != "" || f.Type != "" || len(f.Headers) > 1) {
			return d, true
		}
	}
	return dialect{}, false
}

// kindOf is the type of error that a refusal states.
func kindOf(f fakeclaude.Fault) claude.ErrorType {
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

func statusOf(f fakeclaude.Fault) int {
	if f.Status != 0 {
		return f.Status
	}
	return claude.StatusForType(kindOf(f))
}

// restOf is whom a fault takes out: the second half of the model.
func restOf(f fakeclaude.Fault, stream bool) upstream.Unfit {
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
	case kind == claude.ErrBilling, f.Code != "", f.Message != "": // the messages in faults are of accounts
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

// passedOn says whether a fault is the client's own affair.
func passedOn(f fakeclaude.Fault, stream bool) bool {
	if d, ok := dialectOf(f); ok {
		return d.passed
	}
	e := effectOf(f, stream)
	return e == harmless || e == breakage || e == lastWords || e == refusal && restOf(f, stream) == upstream.Fit
}

// twiceAtMost reports whether the second upstream with the fault ends the request. A slow response may be
// billed, so there are at most two, and two equal doubtful refusals are a fault of the request.
func twiceAtMost(f fakeclaude.Fault, stream bool) bool {
	d, _ := dialectOf(f)
	return d.doubtful || effectOf(f, stream) == lateness
}

// view is what one request shows.
type view struct {
	whole     bool             // the client has a whole answer, by the upstream that gave it
	truncated bool             // content, then an error event; cut says whether the connection was broken too
	cut       bool             //
	status    int              // of an error
	kind      claude.ErrorType // of an error
	asked     []int            // requests by upstream
	standing  []upstream.Unfit // by upstream, afterwards
}

// expect is the model: n upstreams in the order of priority, all with the fault but the last one where that is healthy.
func expect(f fakeclaude.Fault, stream bool, n int, healthy bool) view {
	v := view{asked: make([]int, n), standing: make([]upstream.Unfit, n)}
	faulty := n
	if healthy {
		faulty--
	}
	asked := faulty
	switch {
	case passedOn(f, stream):
		asked = 1
	case twiceAtMost(f, stream):
		asked = min(asked, 2)
	}
	if faulty == 0 {
		asked = 0
	}
	for i := range asked {
		v.asked[i], v.standing[i] = 1, restOf(f, stream)
	}
	if healthy && (asked == 0 || !passedOn(f, stream)) && !(twiceAtMost(f, stream) && asked == 2) {
		v.asked[n-1], v.whole = 1, true
		return v
	}
	if faulty > 1 && poisonous(f, stream) {
		clear(v.standing) // all of them failed alike on one request: it is the request
	}
	v.failure(f, stream)
	return v
}

// allows is expect with the one thing that timing decides: an error event that
// arrives together with the first content, before anything has gone out to the
// client, can still be hidden.
func allows(f fakeclaude.Fault, stream bool, n int, healthy bool, got view) bool {
	if got.equal(expect(f, stream, n, healthy)) {
		return true
	}
	if effectOf(f, stream) != lastWords {
		return false
	}
	sooner := f
	sooner.At = fakeclaude.AtHeaders
	want := expect(sooner, stream, n, healthy)
	if got.truncated { // hidden at some, and then not
		hidden := want
		want = expect(f, stream, n, healthy)
		for i, asked := range got.asked {
			if asked > 0 {
				want.asked[i], want.standing[i] = hidden.asked[i], restOf(f, stream)
			}
		}
	}
	return got.equal(want)
}

// failure is what the client sees when no upstream hides the fault.
func (v *view) failure(f fakeclaude.Fault, stream bool) {
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
		if rest := restOf(f, stream); rest == upstream.CredentialOut || rest == upstream.AccountOut && statusOf(f) != 429 {
			v.status, v.kind = 503, claude.ErrAPI // what is wrong with our key is not the client's affair
		}
		if stream && f.Kind == fakeclaude.FaultError && restOf(f, stream) == upstream.Fit {
			v.status, v.truncated = 0, true // the stream's own error goes out as it came
		}
	}
}

// poisonous says whether a fault may be the work of the request.
func poisonous(f fakeclaude.Fault, stream bool) bool {
	if d, ok := dialectOf(f); ok && d.rest == upstream.Cooling || f.Kind == fakeclaude.FaultShape {
		return true // a page or a missing path: a firewall may answer so for the sake of the request
	}
	if effectOf(f, stream) == refusal {
		return restOf(f, stream) == upstream.Cooling && statusOf(f) >= 500
	}
	return effectOf(f, stream) == nothing && f.At == fakeclaude.AtStart && (f.Kind == fakeclaude.FaultReset || f.Kind == fakeclaude.FaultClose)
}

// faults are all that the matrix is made of.
func faults() []fakeclaude.Fault {
	var all []fakeclaude.Fault
	for _, status := range []int{400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 520, 529} {
		all = append(all, fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: status})
	}
	all = append(all,
		fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: 429, Bare: true},
		fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: 429, Headers: map[string]string{"Retry-After": "120"}},
		fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: 429, Code: "enforced_spend_limit_reached"},
		fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: 400, Message: "Your credit balance is too low to access the Anthropic API."},
		fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: 400, Message: "This organization has been disabled."},
	)
	for _, kind := range fakeclaude.FaultKinds() {
		switch kind {
		case fakeclaude.FaultStatus:
		case fakeclaude.FaultEmpty, fakeclaude.FaultHTML:
			all = append(all, fakeclaude.Fault{Kind: kind})
		case fakeclaude.FaultGzip:
			for _, coding := range fakeclaude.Codings() {
				all = append(all, fakeclaude.Fault{Kind: kind, Coding: coding})
			}
		case fakeclaude.FaultTrickle:
			all = append(all, fakeclaude.Fault{Kind: kind, Delay: 1_000_000, Bytes: 512})
		case fakeclaude.FaultShape:
			for _, form := range fakeclaude.Shapes() {
				all = append(all, fakeclaude.Fault{Kind: kind, Form: form})
			}
		case fakeclaude.FaultDialect:
			for _, form := range fakeclaude.Dialects() {
				all = append(all, fakeclaude.Fault{Kind: kind, Form: form})
			}
		default:
			all = append(all, atEveryPoint(kind)...)
		}
	}
	for _, d := range dialects() {
		all = append(all, d.Fault)
	}
	all = append(all, fakeclaude.Fault{Kind: fakeclaude.FaultError, Type: "policy_blocked", At: fakeclaude.AtMessageStart})
	for _, kind := range []claude.ErrorType{claude.ErrAPI, claude.ErrRateLimit, claude.ErrAuthentication, claude.ErrInvalidRequest} {
		for _, at := range []fakeclaude.Point{fakeclaude.AtMessageStart, fakeclaude.AtFirstBlock} {
			all = append(all, fakeclaude.Fault{Kind: fakeclaude.FaultError, Type: string(kind), At: at})
		}
	}
	return all
}

func atEveryPoint(kind fakeclaude.FaultKind) []fakeclaude.Fault {
	var all []fakeclaude.Fault
	for _, at := range fakeclaude.Points() {
		f := fakeclaude.Fault{Kind: kind, At: at}
		if kind == fakeclaude.FaultSlow {
			f.Delay = 10_000_000
		}
		all = append(all, f)
	}
	return all
}

// name is a fault as the documentation writes it.
func name(f fakeclaude.Fault) string {
	if d, ok := dialectOf(f); ok {
		return fmt.Sprintf("status %d %s", f.Status, d.title)
	}
	switch {
	case f.Kind == fakeclaude.FaultStatus && f.Code != "":
		return fmt.Sprintf("status %d %s", f.Status, f.Code)
	case f.Kind == fakeclaude.FaultStatus && f.Message != "":
		return fmt.Sprintf("status %d %q", f.Status, f.Message)
	case f.Kind == fakeclaude.FaultStatus && f.Bare:
		return fmt.Sprintf("status %d bare", f.Status)
	case f.Kind == fakeclaude.FaultStatus && len(f.Headers) > 0:
		return fmt.Sprintf("status %d with retry-after", f.Status)
	case f.Kind == fakeclaude.FaultStatus:
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

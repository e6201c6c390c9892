package e2e

import (
	"slices"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// illness returns faults: 30 % before the content of a response, and some after it, which clients
// see.
func illness(server int) []fault.Rule {
	type f = fault.Fault
	// A server with these faults gets a cooldown at once, though a short one. With more of them,
	// failing servers would get hardly any requests.
	moment := map[string]string{"Retry-After-Ms": "50"}
	refusals := []f{
		{Kind: fault.Status, Status: 401, Headers: moment}, {Kind: fault.Status, Status: 429, Headers: moment},
		{Kind: fault.Status, Status: 529, Headers: moment}, {Kind: fault.Error, Headers: moment},
	}
	failures := []f{
		status(500), status(503), {Kind: fault.HTML, Status: 502}, {Kind: fault.HTML}, {Kind: fault.Empty},
		{Kind: fault.Reset}, {Kind: fault.Reset, At: fault.AtHeaders},
		{Kind: fault.Close}, {Kind: fault.Close, At: fault.AtHeaders},
	}
	inStreams := []f{
		{Kind: fault.Error, Type: "api_error", At: fault.AtMessageStart}, {Kind: fault.Reset, At: fault.AtMessageStart},
		{Kind: fault.Close, At: fault.AtMessageStart}, {Kind: fault.End, At: fault.AtMessageStart},
	}
	if server == 0 {
		// A request fails if two upstreams let it wait in vain, so only one of them does.
		inStreams = append(inStreams, f{Kind: fault.Stall}, f{Kind: fault.Stall, At: fault.AtHeaders}, f{Kind: fault.Stall, At: fault.AtMessageStart})
	}
	inPlain := []f{
		{Kind: fault.Reset, At: fault.AtMidText}, {Kind: fault.Close, At: fault.AtMidText},
		{Kind: fault.End, At: fault.AtMidText}, {Kind: fault.Malformed},
	}
	late := []f{
		{Kind: fault.Reset, At: fault.AtMidText}, {Kind: fault.Close, At: fault.AtBlockStart},
		{Kind: fault.End, At: fault.AtFirstBlock}, {Kind: fault.End, At: fault.AtMessageDelta},
		{Kind: fault.Error, Type: "api_error", At: fault.AtMidText}, {Kind: fault.Stall, At: fault.AtMidText},
	}
	failures = append(failures, dialectFailures()...)
	var rules []fault.Rule
	for _, stream := range []bool{true, false} {
		inside, after := inStreams, late
		if !stream {
			inside, after = inPlain, nil
		}
		rules = slices.Concat(rules, rehearse(stream, 0.03, refusals), rehearse(stream, 0.27, slices.Concat(failures, inside)), rehearse(stream, 0.05, after))
	}
	return rules
}

// dialectFailures are failures in the dialects of relays and of pages in front of them. Each
// affects the whole server: a refusal that may be the request's fault would reach the client if two
// servers agree on it.
func dialectFailures() []fault.Fault {
	in200 := func(body string) fault.Fault {
		return fault.Fault{Kind: fault.Status, Status: 200, Body: body}
	}
	empty := "event: message_start\ndata: " + messageStart + "\n\n" +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":0}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	return []fault.Fault{
		in200(`{}`), in200(`{"code":500,"msg":"internal error"}`), in200(`{"detail":"Internal Server Error"}`), in200(`{"message":"ok"}`),
		in200(`{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}`), in200(empty),
		{Kind: fault.Status, Status: 500, Body: `{"error":{"message":"do request failed","type":"new_api_error","code":"do_request_failed"}}`},
		{Kind: fault.HTML, Status: 403, Headers: map[string]string{"Cf-Mitigated": "challenge"}},
	}
}

// rehearse applies one of some faults to a share of the requests, each equally often.
func rehearse(stream bool, share float64, faults []fault.Fault) []fault.Rule {
	rules := make([]fault.Rule, len(faults))
	each := share / float64(len(faults))
	for i, injected := range faults {
		// The first matching rule decides, so a later one must match more often.
		rules[i] = fault.Rule{Fault: injected, Stream: &stream, Probability: each / (1 - float64(i)*each)}
	}
	return rules
}

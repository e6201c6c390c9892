package e2e

import (
	"slices"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// illness is 30 % of faults before the content of an answer, and some after it, which clients see.
func illness(server int) []fakeclaude.FaultRule {
	type f = fakeclaude.Fault
	// Whoever says these is let alone at once, be it for a moment. More of them, and the ill would hardly be asked.
	moment := map[string]string{"Retry-After-Ms": "50"}
	refusals := []f{
		{Kind: fakeclaude.FaultStatus, Status: 401, Headers: moment}, {Kind: fakeclaude.FaultStatus, Status: 429, Headers: moment},
		{Kind: fakeclaude.FaultStatus, Status: 529, Headers: moment}, {Kind: fakeclaude.FaultError, Headers: moment},
	}
	failures := []f{
		status(500), status(503), {Kind: fakeclaude.FaultHTML, Status: 502}, {Kind: fakeclaude.FaultHTML}, {Kind: fakeclaude.FaultEmpty},
		{Kind: fakeclaude.FaultReset}, {Kind: fakeclaude.FaultReset, At: fakeclaude.AtHeaders},
		{Kind: fakeclaude.FaultClose}, {Kind: fakeclaude.FaultClose, At: fakeclaude.AtHeaders},
	}
	inStreams := []f{
		{Kind: fakeclaude.FaultError, Type: "api_error", At: fakeclaude.AtMessageStart}, {Kind: fakeclaude.FaultReset, At: fakeclaude.AtMessageStart},
		{Kind: fakeclaude.FaultClose, At: fakeclaude.AtMessageStart}, {Kind: fakeclaude.FaultEnd, At: fakeclaude.AtMessageStart},
	}
	if server == 0 {
		// A request is given up when two upstreams have let it wait in vain, so only one ever does.
		inStreams = append(inStreams, f{Kind: fakeclaude.FaultStall}, f{Kind: fakeclaude.FaultStall, At: fakeclaude.AtHeaders}, f{Kind: fakeclaude.FaultStall, At: fakeclaude.AtMessageStart})
	}
	inPlain := []f{
		{Kind: fakeclaude.FaultReset, At: fakeclaude.AtMidText}, {Kind: fakeclaude.FaultClose, At: fakeclaude.AtMidText},
		{Kind: fakeclaude.FaultEnd, At: fakeclaude.AtMidText}, {Kind: fakeclaude.FaultMalformed},
	}
	late := []f{
		{Kind: fakeclaude.FaultReset, At: fakeclaude.AtMidText}, {Kind: fakeclaude.FaultClose, At: fakeclaude.AtBlockStart},
		{Kind: fakeclaude.FaultEnd, At: fakeclaude.AtFirstBlock}, {Kind: fakeclaude.FaultEnd, At: fakeclaude.AtMessageDelta},
		{Kind: fakeclaude.FaultError, Type: "api_error", At: fakeclaude.AtMidText}, {Kind: fakeclaude.FaultStall, At: fakeclaude.AtMidText},
	}
	failures = append(failures, dialectFailures()...)
	var rules []fakeclaude.FaultRule
	for _, stream := range []bool{true, false} {
		inside, after := inStreams, late
		if !stream {
			inside, after = inPlain, nil
		}
		rules = slices.Concat(rules, rehearse(stream, 0.03, refusals), rehearse(stream, 0.27, slices.Concat(failures, inside)), rehearse(stream, 0.05, after))
	}
	return rules
}

// dialectFailures are failures in the wording of relays and of pages in front of them. Each affects the whole server: a
// refusal that may be the request's own fault would reach the client when two servers agree on it.
func dialectFailures() []fakeclaude.Fault {
	in200 := func(body string) fakeclaude.Fault {
		return fakeclaude.Fault{Kind: fakeclaude.FaultStatus, Status: 200, Body: body}
	}
	empty := "event: message_start\ndata: " + messageStart + "\n\n" +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":0}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	return []fakeclaude.Fault{
		in200(`{}`), in200(`{"code":500,"msg":"internal error"}`), in200(`{"detail":"Internal Server Error"}`), in200(`{"message":"ok"}`),
		in200(`{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}`), in200(empty),
		{Kind: fakeclaude.FaultStatus, Status: 500, Body: `{"error":{"message":"do request failed","type":"new_api_error","code":"do_request_failed"}}`},
		{Kind: fakeclaude.FaultHTML, Status: 403, Headers: map[string]string{"Cf-Mitigated": "challenge"}},
	}
}

// rehearse lets one of some faults happen to a share of the requests, each of them as often as the others.
func rehearse(stream bool, share float64, faults []fakeclaude.Fault) []fakeclaude.FaultRule {
	rules := make([]fakeclaude.FaultRule, len(faults))
	each := share / float64(len(faults))
	for i, fault := range faults {
		// The first rule that strikes decides, so a later one has to strike more often.
		rules[i] = fakeclaude.FaultRule{Fault: fault, Stream: &stream, Probability: each / (1 - float64(i)*each)}
	}
	return rules
}

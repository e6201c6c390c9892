package proxy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// List prices in nano-dollars per token: input, cache write for 5 minutes, for an hour, cache read,
// output.
//
//	Opus 4.8    5000  6250 10000   500 25000   fast mode twice
//	Opus 4.6    5000  6250 10000   500 25000   fast mode six times
//	Opus 5.5    4000  5000  8000   200 20000   fast mode twice
//	Fable 5    10000 12500 20000  1000 50000
//	Sonnet 4.6  3000  3750  6000   300 15000
//	Haiku 4.5   1000  1250  2000   100  5000
//	Haiku 5.5    100   125   200    10   500   beyond 100,000 tokens five times
//
// A web search costs 10,000,000.

// shape is a form of usage that is documented or was observed at relays.
type shape struct {
	name  string
	model string // of the request, and of the response unless that names another one
	asks  string // further members of the request
	from  []http.HandlerFunc
	cost  ledger.Money
	in    int64 // tokens of all prompts
	out   int64
	note  string // "estimated", or what is unpriced
}

// plain is a plain response with a usage.
func plain(model, usage string) http.HandlerFunc {
	return respond(http.StatusOK, jsonType, toldBody(model, usage))
}

func toldBody(model, usage string) string {
	return `{"id":"msg_1","type":"message","role":"assistant","model":"` + model + `","stop_reason":"end_turn","content":[{"type":"text","text":"hello"}],"usage":` + usage + `}`
}

// begun is a message_start with a usage, and the beginning of the content.
func begun(model, usage string) string {
	return `event: message_start` + "\n" + `data: {"type":"message_start","message":{"id":"msg_1","type":"message","model":"` + model + `","usage":` + usage + "}}\n\n" + blockEvent
}

// words returns a text of n tokens, as estimated from its size.
func words(tokens int) string {
	frame := `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`
	size := 82 + 4*tokens - len(frame)
	return "event: content_block_delta\ndata: " + strings.Replace(frame, `""`, `"`+strings.Repeat("x", size)+`"`, 1) + "\n\n"
}

func ended(usage string) string {
	return `event: message_delta` + "\n" + `data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":` + usage + "}\n\n" + stopEvent
}

func streamed(model, first, last string) http.HandlerFunc {
	return stream(nil, begun(model, first), textEvent, ended(last))
}

// many joins handlers.
func many(h ...http.HandlerFunc) []http.HandlerFunc { return h }

const streamIt = `,"stream":true`

func plainShapes() []shape {
	const sonnet, opus, haiku = "claude-sonnet-4-6", "claude-opus-4-8", "claude-haiku-4-5"
	usage := func(more string) string { return `{"input_tokens":1000,"output_tokens":100` + more + `}` } // 4_500_000 of Sonnet
	return []shape{
		{"plain", haiku, "", many(plain(haiku, usage(""))), 1000*1000 + 100*5000, 1000, 100, ""},
		{"cache writes without lifetimes", haiku, "", many(plain(haiku, usage(`,"cache_creation_input_tokens":400`))), 1_500_000 + 400*1250, 1400, 100, ""},
		{
			"cache writes for both lifetimes", haiku, "",
			many(plain(haiku, usage(`,"cache_creation_input_tokens":500,"cache_creation":{"ephemeral_5m_input_tokens":200,"ephemeral_1h_input_tokens":300},"cache_read_input_tokens":7000`))),
			1_500_000 + 200*1250 + 300*2000 + 7000*100, 8500, 100, "",
		},
		{"fast mode", "claude-opus-4-6", `,"speed":"fast"`, many(plain("claude-opus-4-6", usage(`,"speed":"fast"`))), 6 * (5_000_000 + 2_500_000), 1000, 100, ""},
		{"fast mode asked for, not reported", opus, `,"speed":"fast"`, many(plain(opus, usage(""))), 2 * 7_500_000, 1000, 100, ""},
		{"fast mode asked for, standard reported", opus, `,"speed":"fast"`, many(plain(opus, usage(`,"speed":"standard"`))), 7_500_000, 1000, 100, ""},
		{"fast mode of a model that has none", haiku, "", many(plain(haiku, usage(`,"speed":"fast"`))), 1_500_000, 1000, 100, "speed fast"},
		{"in the United States", sonnet, "", many(plain(sonnet, usage(`,"inference_geo":"us"`))), 4_950_000, 1000, 100, ""},
		{"anywhere", sonnet, `,"inference_geo":"us"`, many(plain(sonnet, usage(`,"inference_geo":"global"`))), 4_500_000, 1000, 100, ""},
		{"in a region without a price", sonnet, "", many(plain(sonnet, usage(`,"inference_geo":"mars"`))), 4_500_000, 1000, 100, "inference_geo mars"},
		{"fast, in the United States", "claude-opus-5-5", "", many(plain("claude-opus-5-5", usage(`,"speed":"fast","inference_geo":"us"`))), 13_200_000, 1000, 100, ""}, // 6_000_000 · 2 · 1.1
		{"batch tier", sonnet, "", many(plain(sonnet, usage(`,"service_tier":"batch"`))), 2_250_000, 1000, 100, ""},
		{"priority tier", sonnet, "", many(plain(sonnet, usage(`,"service_tier":"priority"`))), 4_500_000, 1000, 100, "service_tier priority"},
		{"web searches and fetches", sonnet, "", many(plain(sonnet, usage(`,"server_tool_use":{"web_search_requests":3,"web_fetch_requests":2}`))), 4_500_000 + 3*10_000_000, 1000, 100, ""},
		{"a web search of a batch", sonnet, "", many(plain(sonnet, usage(`,"service_tier":"batch","server_tool_use":{"web_search_requests":1}`))), 2_250_000 + 10_000_000, 1000, 100, ""},
		{"code execution", sonnet, "", many(plain(sonnet, usage(`,"server_tool_use":{"code_execution_requests":1}`))), 4_500_000, 1000, 100, "server tool code_execution_requests"},
		{"a prompt up to the step", "claude-haiku-5-5", "", many(plain("claude-haiku-5-5", `{"input_tokens":10,"cache_read_input_tokens":99990,"output_tokens":1}`)), 10*100 + 99990*10 + 500, 100_000, 1, ""},
		{"a prompt beyond the step", "claude-haiku-5-5", "", many(plain("claude-haiku-5-5", `{"input_tokens":11,"cache_read_input_tokens":99990,"output_tokens":1}`)), 11*500 + 99990*50 + 2500, 100_001, 1, ""},
		{
			"calls that are beyond the step only together", "claude-haiku-5-5", "",
			many(plain("claude-haiku-5-5", `{"input_tokens":120000,"output_tokens":2,"iterations":[{"type":"message","input_tokens":60000,"output_tokens":1},{"type":"message","input_tokens":60000,"output_tokens":1}]}`)),
			120_000*100 + 2*500, 120_000, 2, "",
		},
		{
			"advisor", haiku, `,"tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-4-8"}]`,
			many(plain(haiku, `{"input_tokens":412,"cache_read_input_tokens":0,"output_tokens":531,"iterations":[{"type":"message","input_tokens":412,"output_tokens":89},
				{"type":"advisor_message","model":"claude-opus-4-8","input_tokens":823,"output_tokens":1612},{"type":"message","input_tokens":1348,"cache_read_input_tokens":412,"output_tokens":442}]}`)),
			(412+1348)*1000 + 412*100 + 531*5000 + 823*5000 + 1612*25000, 412 + 1348 + 412 + 823, 531 + 1612, "",
		},
		{
			"advisor without a price", haiku, "",
			many(plain(haiku, `{"input_tokens":10,"output_tokens":5,"iterations":[{"type":"message","input_tokens":10,"output_tokens":5},{"type":"advisor_message","model":"gpt-9","input_tokens":7,"output_tokens":3}]}`)),
			10*1000 + 5*5000, 17, 8, "model gpt-9",
		},
		{
			"compaction", sonnet, "",
			many(plain(sonnet, `{"input_tokens":23000,"output_tokens":1000,"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500},{"type":"message","input_tokens":23000,"output_tokens":1000}]}`)),
			(23_000+180_000)*3000 + 4500*15000, 203_000, 4500, "",
		},
		{
			"fallback after output", "claude-fable-5", `,"fallbacks":[{"model":"claude-opus-4-8"}]`,
			many(plain(opus, `{"input_tokens":1000,"output_tokens":100,"iterations":[{"type":"message","model":"claude-fable-5","input_tokens":900,"output_tokens":20},{"type":"fallback_message","model":"claude-opus-4-8","input_tokens":1000,"output_tokens":100}]}`)),
			7_500_000 + 900*10_000 + 20*50_000, 1900, 120, "",
		},
		{
			"fallback before output", "claude-fable-5", `,"fallbacks":[{"model":"claude-opus-4-8"}]`,
			many(plain(opus, `{"input_tokens":1000,"output_tokens":100,"iterations":[{"type":"message","model":"claude-fable-5","input_tokens":900,"output_tokens":0},{"type":"fallback_message","model":"claude-opus-4-8","input_tokens":1000,"output_tokens":100}]}`)),
			7_500_000, 1000, 100, "",
		},
		{
			"refusal before output", "claude-fable-5", "",
			many(respond(http.StatusOK, jsonType, `{"id":"msg_1","type":"message","role":"assistant","model":"claude-fable-5","stop_reason":"refusal","content":[],"usage":{"input_tokens":106,"output_tokens":1}}`)), 0, 106, 1, "",
		},
		{
			"refusal after output", "claude-fable-5", "",
			many(respond(http.StatusOK, jsonType, strings.Replace(toldBody("claude-fable-5", `{"input_tokens":106,"output_tokens":2}`), "end_turn", "refusal", 1))), 106*10_000 + 2*50_000, 106, 2, "",
		},
		{"an unknown kind of call", haiku, "", many(plain(haiku, usage(`,"iterations":[{"type":"dream","input_tokens":9}]`))), 1_500_000, 1000, 100, "iteration dream"},
		{"a model without a price", "gpt-9", "", many(plain("gpt-9", usage(""))), 0, 1000, 100, "model gpt-9"},
		{"numbers as strings and fractions", haiku, "", many(plain(haiku, `{"input_tokens":"1000","output_tokens":99.6}`)), 1_500_000, 1000, 100, ""},
		// The content, [{"type":"text","text":"hello"}], is of 2 tokens by its size; the prompt of
		// 500 by that of the request.
		{"no usage", haiku, "", many(respond(http.StatusOK, jsonType, strings.Replace(toldBody(haiku, "{}"), `,"usage":{}`, "", 1))), 500*1000 + 2*5000, 500, 2, "estimated"},
		{"the names of another API", haiku, "", many(plain(haiku, `{"prompt_tokens":1000,"completion_tokens":100}`)), 500*1000 + 2*5000, 500, 2, "estimated"},
		{"counts that cannot be", haiku, "", many(plain(haiku, `{"input_tokens":-1,"output_tokens":1e30}`)), 500*1000 + 2*5000, 500, 2, "estimated"},
		{"failover before the commit", haiku, "", many(respond(529, jsonType, `{"type":"error","error":{"type":"overloaded_error","message":"m"}}`), plain(haiku, usage(""))), 1_500_000, 1000, 100, ""},
	}
}

// huge is a response that is too large to be read: 16 MB of text.
func huge(model string) http.HandlerFunc {
	return respond(http.StatusOK, jsonType, strings.Replace(toldBody(model, `{"input_tokens":1000,"output_tokens":100}`), "hello", strings.Repeat("x", 17<<20), 1))
}

func streamedShapes() []shape {
	const haiku, opus = "claude-haiku-4-5", "claude-opus-4-8"
	return []shape{
		{"streamed", haiku, streamIt, many(streamed(haiku, `{"input_tokens":1000,"output_tokens":1}`, `{"output_tokens":100}`)), 1_500_000, 1000, 100, ""},
		{
			"message_delta replaces field by field", haiku, streamIt,
			many(streamed(haiku, `{"input_tokens":1000,"output_tokens":1}`, `{"input_tokens":0,"cache_read_input_tokens":1000,"output_tokens":10}`)), 1000*100 + 10*5000, 1000, 10, "",
		},
		{
			"speed and region in message_start alone", opus, streamIt,
			many(streamed(opus, `{"input_tokens":1000,"output_tokens":1,"speed":"fast","inference_geo":"us","service_tier":"standard"}`, `{"input_tokens":1000,"output_tokens":100}`)), 16_500_000, 1000, 100, "", // 7_500_000 · 2 · 1.1
		},
		{
			"an advisor in message_delta", haiku, streamIt,
			many(streamed(haiku, `{"input_tokens":10,"output_tokens":1}`, `{"input_tokens":10,"output_tokens":5,"iterations":[{"type":"message","input_tokens":10,"output_tokens":5},{"type":"advisor_message","model":"claude-opus-4-8","input_tokens":100,"output_tokens":50,"cache_creation_input_tokens":8,"cache_creation":{"ephemeral_1h_input_tokens":8}}]}`)),
			10*1000 + 5*5000 + 100*5000 + 50*25000 + 8*10000, 118, 55, "",
		},
		{"usage in message_stop", haiku, streamIt, many(stream(nil, begun(haiku, "null"), textEvent, strings.Replace(ended("null"), `"message_stop"}`, `"message_stop","usage":{"input_tokens":1000,"output_tokens":100}}`, 1))), 1_500_000, 1000, 100, ""},
		{"streamed without usage", haiku, streamIt, many(stream(nil, begun(haiku, "null"), words(40), ended("null"))), 500*1000 + 40*5000, 500, 40, "estimated"},
		{"streamed with zeros", haiku, streamIt, many(stream(nil, begun(haiku, `{"input_tokens":0,"output_tokens":0}`), words(40), ended(`{"output_tokens":0}`))), 500*1000 + 40*5000, 500, 40, "estimated"},
		{"cut in the middle", haiku, streamIt, many(stream(abort, begun(haiku, `{"input_tokens":1000,"output_tokens":1}`), words(30))), 1000*1000 + 30*5000, 1000, 30, "estimated"},
		{
			"failover after message_start", haiku, streamIt,
			many(stream(abort, strings.TrimSuffix(begun(haiku, `{"input_tokens":1000,"output_tokens":1}`), blockEvent)), streamed(haiku, `{"input_tokens":1000,"output_tokens":1}`, `{"output_tokens":100}`)),
			1000*1000 + 1*5000 + 1_500_000, 2000, 101, "estimated",
		},
	}
}

// TestShapesOfUsage checks costs to the nano-dollar against figures computed by hand.
func TestShapesOfUsage(t *testing.T) {
	const text = 2000 - len(`{"role":"user","content":""}`) // then the prompt is estimated at 500 tokens
	for _, s := range append(plainShapes(), streamedShapes()...) {
		t.Run(s.name, func(t *testing.T) {
			r := pricedRig(t, s.from...)
			r.post("/v1/messages", fmt.Sprintf(`{"model":%q,"max_tokens":9%s,"messages":[{"role":"user","content":%q}]}`, s.model, s.asks, strings.Repeat("w", text)))
			e := r.last()
			var sums ledger.Sums
			for _, share := range e.Shares() {
				sums.Add(share)
			}
			if cost := e.Cost(); cost.Sum != s.cost || sums.Cost != s.cost {
				t.Errorf("%d nano-dollars, %d in the sums, want %d", cost.Sum, sums.Cost, s.cost)
			}
			if in := sums.Input + sums.CacheRead + sums.CacheWrite5m + sums.CacheWrite1h; in != s.in || sums.Output != s.out {
				t.Errorf("%d tokens in, %d out, want %d and %d", in, sums.Output, s.in, s.out)
			}
			unpriced := s.note
			if s.note == "estimated" {
				unpriced = ""
			}
			if e.Estimated() != (s.note == "estimated") || e.Cost().Unpriced != unpriced || e.Cost().Known != (unpriced == "") || (sums.Unpriced > 0) != (unpriced != "") {
				t.Errorf("estimated: %t, unpriced: %q, want %q", e.Estimated(), e.Cost().Unpriced, s.note)
			}
		})
	}
}

// pricedRig charges list prices.
func pricedRig(t *testing.T, from ...http.HandlerFunc) *rig {
	r := newRigWith(t, func(cfg *config.Config) {
		for i := range cfg.Servers {
			cfg.Servers[i].PriceMultiplier = 1
		}
	}, from...)
	r.settings.Prices = ledger.ListPrices()
	return r
}

// TestUsageOfAHedge checks that the attempt that lost is charged for its prompt.
func TestUsageOfAHedge(t *testing.T) {
	const haiku = "claude-haiku-4-5"
	good := streamed(haiku, `{"input_tokens":1000,"output_tokens":1}`, `{"output_tokens":100}`)
	silent := func(w http.ResponseWriter, req *http.Request) {
		stream(nil, strings.TrimSuffix(begun(haiku, `{"input_tokens":1000,"output_tokens":1}`), blockEvent))(w, req)
		<-req.Context().Done()
	}
	const learning = 8 // responses until the hedge delay is known
	r := pricedRig(t, sequence(append(slices.Repeat([]http.HandlerFunc{good}, learning), silent)...), good)
	r.settings.Hedge = true
	for range learning + 1 {
		r.post("/v1/messages", `{"model":"claude-haiku-4-5","stream":true,"messages":[{"role":"user","content":"hi"}]}`)
	}
	e := r.last()
	lost := ledger.Money(1000*1000 + 1*5000)
	if !e.Attempts[0].Known() { // the other attempt won before the usage of this one arrived
		lost = 0
	}
	if len(e.Attempts) != 2 || e.Cost().Sum != lost+1_500_000 || e.Estimated() != (lost > 0) || e.Cost().Wasted != lost {
		t.Errorf("%+v, %d of it lost", e.Cost(), lost)
	}
}

// TestUsageOfBatchResults checks that results are charged when they are fetched for the first time.
func TestUsageOfBatchResults(t *testing.T) {
	const path = "/v1/messages/batches/msgbatch_1/results"
	result := func(model, usage string) string {
		return `{"custom_id":"c","result":{"type":"succeeded","message":` + toldBody(model, usage) + "}}\n"
	}
	results := result("claude-sonnet-4-6", `{"input_tokens":1000,"output_tokens":100,"service_tier":"batch"}`) +
		result("claude-haiku-4-5", `{"input_tokens":1000,"output_tokens":100,"service_tier":"batch","server_tool_use":{"web_search_requests":1}}`) +
		`{"custom_id":"d","result":{"type":"errored","error":{"type":"error"}}}` + "\n" +
		result("claude-haiku-4-5", `{"input_tokens":1000,"output_tokens":100}`)
	cut := true
	r := pricedRig(t, func(w http.ResponseWriter, req *http.Request) {
		if cut {
			stream(abort, results[:len(results)/2])(w, req)
			return
		}
		respond(http.StatusOK, "application/x-jsonl", results)(w, req)
	})
	costOf := func() ledger.Cost {
		e := r.last()
		return e.Cost()
	}
	if r.send("GET", path, ""); costOf().Sum != 0 {
		t.Errorf("a part of the results: %+v", costOf())
	}
	cut = false
	if got := r.send("GET", path, ""); got.Body != results {
		t.Errorf("%q", got.Body)
	}
	e, byModel := r.last(), map[string]ledger.Money{}
	for at, share := range e.Shares() {
		byModel[at.Model] += share.Cost
	}
	// Half of 4_500_000, and half of 1_500_000 twice with a search.
	if c := e.Cost(); c.Sum != 2_250_000+2*750_000+10_000_000 || !c.Known || byModel["claude-sonnet-4-6"] != 2_250_000 || byModel["claude-haiku-4-5"] != 11_500_000 {
		t.Errorf("%+v, %v", c, byModel)
	}
	if r.send("GET", path, ""); costOf().Sum != 0 {
		t.Errorf("fetched again: %+v", costOf())
	}
}

func TestUsageOfAnUnreadableResponse(t *testing.T) {
	r := pricedRig(t, huge("claude-haiku-4-5"))
	got := r.post("/v1/messages", `{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"hi"}]}`)
	e := r.last()
	if u := e.Usage(); u.OutputTokens != int64(len(got.Body)/4) || !e.Estimated() || e.Cost().Sum < ledger.Money(u.OutputTokens)*5000 {
		t.Errorf("%+v, %+v of %d bytes", u, e.Cost(), len(got.Body))
	}
}

package claude

import (
	"fmt"
	"reflect"
	"testing"
)

func TestSettledCompletesWhatIsNotReported(t *testing.T) {
	const prompt = 5000
	start := func(usage string) string {
		return "event: message_start\ndata: {\"message\":{\"id\":\"m\",\"usage\":" + usage + "}}\n\n"
	}
	// 18 tokens of text, by its size.
	text := "event: content_block_start\ndata: {}\n\nevent: content_block_delta\ndata: " + fmt.Sprintf("%0154d", 0) + "\n\n"
	delta := func(usage string) string {
		return "event: message_delta\ndata: {\"delta\":{},\"usage\":" + usage + "}\n\n"
	}
	stop := "event: message_stop\ndata: {}\n\n"
	f := func(name, stream string, input, output int64, estimated bool) {
		t.Helper()
		m := observe(stream)
		u, guessed := m.CompletedUsage(prompt)
		if u.TotalInputTokens() != input || u.OutputTokens != output || guessed != estimated {
			t.Errorf("%s: %+v, estimated: %t", name, u, guessed)
		}
	}
	good := `{"input_tokens":10,"output_tokens":1}`
	f("all is reported", start(good)+text+delta(`{"output_tokens":7}`)+stop, 10, 7, false)
	f("no usage", start("null")+text+delta("null")+stop, prompt, 18, true)
	f("usage in message_start alone", start(good)+text+delta("null")+stop, 10, 18, true)
	f("usage in message_delta alone", start("null")+text+delta(`{"input_tokens":12,"output_tokens":7}`)+stop, 12, 7, false)
	f("usage in message_stop alone", start("null")+text+delta("null")+"event: message_stop\ndata: {\"usage\":{\"input_tokens\":12,\"output_tokens\":7}}\n\n", 12, 7, false)
	f("no count of the prompt", start("{}")+text+delta(`{"output_tokens":7}`)+stop, prompt, 7, true)
	f("zeros", start(`{"input_tokens":0,"output_tokens":0}`)+text+delta(`{"output_tokens":0}`)+stop, prompt, 18, true)
	f("a cached prompt", start(`{"input_tokens":0,"cache_read_input_tokens":9}`)+text+delta(`{"output_tokens":7}`)+stop, 9, 7, false)
	f("a negative count", start(`{"input_tokens":-3}`)+text+delta(`{"output_tokens":7}`)+stop, prompt, 7, true)
	f("a negative count later", start(good)+text+delta(`{"input_tokens":-3,"output_tokens":7}`)+stop, 10, 7, true)
	f("an absurd count", start(`{"input_tokens":1e30}`)+text+delta(`{"output_tokens":1e30}`)+stop, prompt, 18, true)
	f("strings", start(`{"input_tokens":"12"}`)+text+delta(`{"output_tokens":" 7 "}`)+stop, 12, 7, false)
	f("fractions", start(`{"input_tokens":11.5}`)+text+delta(`{"output_tokens":6.6}`)+stop, 12, 7, false)
	f("names of another API", start(`{"prompt_tokens":12}`)+text+delta(`{"completion_tokens":7}`)+stop, prompt, 18, true)
	f("lifetimes that contradict the total", start(`{"input_tokens":1,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":3}}`)+text+delta(`{"output_tokens":7}`)+stop, 10, 7, true)
	f("cut after content", start(good)+text, 10, 18, true)
	f("cut before content", start("null"), 0, 0, true)
	f("no output at all", start(good)+delta(`{"output_tokens":0}`)+stop, 10, 1, false)

	plain, ok := ParseMessage([]byte(`{"type":"message","content":[{"type":"text","text":"` + fmt.Sprintf("%0400d", 0) + `"}]}`))
	if u, guessed := plain.CompletedUsage(prompt); !ok || u.InputTokens != prompt || u.OutputTokens != 100 || !guessed {
		t.Errorf("%+v, estimated: %t", u, guessed)
	}
}

func TestBill(t *testing.T) {
	f := func(model, usage string, want Bill) {
		t.Helper()
		m, ok := ParseMessage([]byte(`{"type":"message","model":"` + model + `","usage":` + usage + `}`))
		if got := m.Bill(m.Usage); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", usage, got, want)
		}
	}
	f("a", `{"input_tokens":5,"output_tokens":3}`, Bill{Usage: Usage{InputTokens: 5, OutputTokens: 3}})
	f("a", `{"input_tokens":5,"output_tokens":3,"iterations":[{"type":"message","input_tokens":5,"output_tokens":3}]}`, Bill{Usage: Usage{InputTokens: 5, OutputTokens: 3}})
	f("a", `{"input_tokens":5,"output_tokens":3,"iterations":null}`, Bill{Usage: Usage{InputTokens: 5, OutputTokens: 3}})

	// The top level lacks the advisor's call: it is the sum of the calls before and after it.
	f("a", `{"input_tokens":5,"output_tokens":3,"iterations":[{"type":"message","input_tokens":2,"output_tokens":1},
		{"type":"advisor_message","model":"b","input_tokens":100,"output_tokens":50,"cache_read_input_tokens":7},{"type":"message","input_tokens":3,"output_tokens":2}]}`,
		Bill{
			Usage: Usage{InputTokens: 5, OutputTokens: 3}, Calls: []Usage{{InputTokens: 2, OutputTokens: 1}, {InputTokens: 3, OutputTokens: 2}},
			Extra: []Iteration{{"advisor_message", "b", Usage{InputTokens: 100, OutputTokens: 50, CacheReadTokens: 7}}},
		})
	// The example in the documentation: the prompt of the first call only, the output of both.
	f("a", `{"input_tokens":412,"cache_read_input_tokens":0,"output_tokens":531,"iterations":[{"type":"message","input_tokens":412,"output_tokens":89},
		{"type":"advisor_message","model":"b","input_tokens":823,"output_tokens":1612},{"type":"message","input_tokens":1348,"cache_read_input_tokens":412,"output_tokens":442}]}`,
		Bill{
			Usage: Usage{InputTokens: 1760, CacheReadTokens: 412, OutputTokens: 531},
			Calls: []Usage{{InputTokens: 412, OutputTokens: 89}, {InputTokens: 1348, CacheReadTokens: 412, OutputTokens: 442}},
			Extra: []Iteration{{"advisor_message", "b", Usage{InputTokens: 823, OutputTokens: 1612}}},
		})
	f("a", `{"input_tokens":5,"output_tokens":3,"iterations":[{"type":"compaction","input_tokens":100,"output_tokens":50},{"type":"message","input_tokens":5,"output_tokens":3}]}`,
		Bill{Usage: Usage{InputTokens: 5, OutputTokens: 3}, Extra: []Iteration{{"compaction", "", Usage{InputTokens: 100, OutputTokens: 50}}}})

	// A model that declined is billed if it had begun to respond.
	served := `{"type":"fallback_message","model":"b-20260101","input_tokens":5,"output_tokens":3}`
	late := Iteration{"message", "a", Usage{InputTokens: 4, OutputTokens: 2}}
	f("b", `{"input_tokens":5,"output_tokens":3,"iterations":[{"type":"message","model":"a","input_tokens":4,"output_tokens":0},`+served+`]}`,
		Bill{Usage: Usage{InputTokens: 5, OutputTokens: 3}})
	f("b", `{"input_tokens":5,"output_tokens":3,"iterations":[{"type":"message","model":"a","input_tokens":4,"output_tokens":2},`+served+`]}`,
		Bill{Usage: Usage{InputTokens: 5, OutputTokens: 3}, Extra: []Iteration{late}})
	f("b", `{"input_tokens":9,"output_tokens":5,"iterations":[{"type":"message","model":"a","input_tokens":4,"output_tokens":2},`+served+`]}`,
		Bill{Usage: Usage{InputTokens: 5, OutputTokens: 3}, Extra: []Iteration{late}})

	f("a", `{"input_tokens":5,"output_tokens":3,"iterations":[{"type":"later","input_tokens":1}]}`, Bill{Usage: Usage{InputTokens: 5, OutputTokens: 3}, Unknown: "later"})
}

func TestIterationsAreBounded(t *testing.T) {
	var m Message
	list := ""
	for range 1000 {
		list += `{"type":"advisor_message","model":"b","output_tokens":1},`
	}
	m.Observe(Event{Name: "message_delta", Data: []byte(`{"usage":{"iterations":[` + list[:len(list)-1] + `]}}`)})
	var sum int64
	for _, each := range m.Iterations {
		sum += each.Usage.OutputTokens
	}
	if len(m.Iterations) != maxIterations || sum != 1000 {
		t.Errorf("%d iterations, %d tokens", len(m.Iterations), sum)
	}
}

package claude

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestRequestModels(t *testing.T) {
	f := func(body, want string, ok bool, further ...string) {
		t.Helper()
		if got, clear := RequestModels([]byte(body)); clear != ok || ok && (got.First != want || got.DefaultFallback || !slices.Equal(got.Others, further)) {
			t.Errorf("%s: %+v, %t", body, got, clear)
		}
	}
	// Settings may name further models; the content of a conversation and the description of a
	// client's tools may not.
	f(`{"model":"a","tools":[{"name":"x","input_schema":{"properties":{"model":{"type":"string"}}},"input_examples":[{"model":"no"}]},{"type":"advisor_20260301","model":"b"}]}`, "a", true, "b")
	f(`{"model":"a","fallbacks":[{"model":"b"},{"model":"c","speed":"fast"},{"model":"b"}]}`, "a", true, "b", "c")
	f(`{"model":"a","later":{"deep":[{"model":"b"}]},"context_management":{"edits":[{"model":null}]}}`, "a", true, "b")
	f(`{"model":"a","output_config":{"format":{"schema":{"model":"no"}}},"metadata":{"model":"no"},"system":[{"text":"t","model":"no"}]}`, "a", true)
	f(`{"messages":[{"content":[{"type":"tool_use","input":{"model":"no"}}]}],"model":"a"}`, "a", true)
	f(`{"model":"a","tools":[{"model":"b"}],"tools":[{"model":"c"}]}`, "a", true, "b", "c")
	f(`{"model":"a","tools":[{"Model":"b"}]}`, "", false)
	f(`{"model":"a","tools":[{"model":{"id":"b"}}]}`, "", false)
	f(`{"model":"a","Tools":[{"mod\u0065l":"b"}]}`, "a", true, "b")
	f(`{"model":"a","fallbacks":["b",{"model":"c"}]}`, "a", true, "b", "c")
	f(`{"model":"a","models":["a","b"],"fallback_model":"c","Fallback_Models":["d"],"x":{"models":["e"]}}`, "a", true, "a", "b", "c", "d", "e")
	f(`{"model":"a","models":null,"fallback_model":null,"tools":[{"name":"x","input_schema":{"properties":{"models":{"enum":["no"]},"fallback_model":{"default":"no"}}}}]}`, "a", true)
	if got, ok := RequestModels([]byte(`{"model":"a","fallbacks":"default"}`)); !ok || !got.DefaultFallback {
		t.Errorf("%+v, %t", got, ok)
	}
	f(`{"max_tokens":1,"model":"a","messages":[{"model":"b"}]}`, "a", true)
	f(`{"mod\u0065l":"a"}`, "a", true)
	f(`{"model":"a","model":"b"}`, "", false)
	f(`{"model":"a","mod\u0065l":"b"}`, "", false)
	f(`{"model":"a","Model":"b"}`, "", false)
	f(`{"MODEL":"b"}`, "", false)
	f(`{"model":["a"]}`, "", false)
	f(`{"model":"a"} {"model":"b"}`, "", false)
	f(`{"model":"a"`, "", false)
	f("\ufeff{\"model\":\"a\"}", "", false)
	f(`{}`, "", false)
}

func TestBatchModels(t *testing.T) {
	f := func(body string, ok bool, want ...string) {
		t.Helper()
		if got, clear := BatchModels([]byte(body)); clear != ok || ok && !slices.Equal(got.Others, want) {
			t.Errorf("%s: %+v, %t, want %q, %t", body, got, clear, want, ok)
		}
	}
	f(`{"requests":[{"custom_id":"1","params":{"max_tokens":1,"model":"a","messages":[{"model":"x"}]}},{"params":{"model":"b"}},{"params":{"model":"a"}}]}`, true, "a", "b")
	f(`{"requests":[{"params":{"model":"a","tools":[{"type":"advisor_20260301","model":"b"}]}}]}`, true, "a", "b")
	f(`{"requests":[]}`, true)
	f(`{"requests":[{"params":{"model":"a"},"Params":{"model":"b"}}]}`, false)
	f(`{"requests":[{"params":{"model":"a","model":"b"}}]}`, false)
	f(`{"requests":[{"params":{"model":"a"}}],"REQUESTS":[{"params":{"model":"b"}}]}`, false)
	f(`{"requests":[1]}`, false)
	f(`{"requests":[{"params":2}]}`, false)
	f(`{}`, false)
	f(`not JSON`, false)
}

// FuzzRequestModels compares unambiguous requests with two parsers that differ: encoding/json uses
// the last member, in any case of its name, and a map the last one of each spelling.
func FuzzRequestModels(f *testing.F) {
	f.Add([]byte(`{"model":"a"}`))
	f.Add([]byte(`{"model":"a","Model":"b"}`))
	f.Add([]byte(`{"requests":[{"params":{"model":"a"}}],"mod\u0065l":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		models, clear := BatchModels(body)
		if !clear && len(models.Others) > len(body) {
			t.Errorf("%d models", len(models.Others))
		}
		all, ok := RequestModels(body)
		if !ok {
			return
		}
		model := all.First
		var loose struct{ Model string }
		var exact map[string]any
		if json.Unmarshal(body, &loose) != nil || json.Unmarshal(body, &exact) != nil || loose.Model != model || exact["model"] != model {
			t.Errorf("%q: %q, others read %q and %q", body, model, loose.Model, exact["model"])
		}
	})
}

func TestRequestModelsAllocations(t *testing.T) {
	body := []byte(`{"model":"a","max_tokens":9,"tools":[` + strings.Repeat(`{"Name":"x","description":"d","input_schema":{"type":"object","properties":{"model":{}}}},`, 100) + `{"name":"y"}],"messages":[]}`)
	if n := testing.AllocsPerRun(10, func() { RequestModels(body) }); n > 8 {
		t.Errorf("%v allocations", n)
	}
}

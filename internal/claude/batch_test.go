package claude

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestSoleModel(t *testing.T) {
	f := func(body, want string, ok bool) {
		t.Helper()
		if got, sole := SoleModel([]byte(body)); sole != ok || ok && got != want {
			t.Errorf("%s: %q, %t", body, got, sole)
		}
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
		if got, clear := BatchModels([]byte(body)); clear != ok || ok && !slices.Equal(got, want) {
			t.Errorf("%s: %q, %t, want %q, %t", body, got, clear, want, ok)
		}
	}
	f(`{"requests":[{"custom_id":"1","params":{"max_tokens":1,"model":"a","messages":[{"model":"x"}]}},{"params":{"model":"b"}},{"params":{"model":"a"}}]}`, true, "a", "b")
	f(`{"requests":[]}`, true)
	f(`{"requests":[{"params":{"model":"a"},"Params":{"model":"b"}}]}`, false)
	f(`{"requests":[{"params":{"model":"a","model":"b"}}]}`, false)
	f(`{"requests":[{"params":{"model":"a"}}],"REQUESTS":[{"params":{"model":"b"}}]}`, false)
	f(`{"requests":[1]}`, false)
	f(`{"requests":[{"params":2}]}`, false)
	f(`{}`, false)
	f(`not JSON`, false)
}

// FuzzSoleModel holds what is called clear against two readers that take it differently: encoding/json takes the last
// member, whatever the case of its name, and a map the last one of each spelling.
func FuzzSoleModel(f *testing.F) {
	f.Add([]byte(`{"model":"a"}`))
	f.Add([]byte(`{"model":"a","Model":"b"}`))
	f.Add([]byte(`{"requests":[{"params":{"model":"a"}}],"mod\u0065l":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		models, clear := BatchModels(body)
		if !clear && len(models) > len(body) {
			t.Errorf("%d models", len(models))
		}
		model, ok := SoleModel(body)
		if !ok {
			return
		}
		var loose struct{ Model string }
		var exact map[string]any
		if json.Unmarshal(body, &loose) != nil || json.Unmarshal(body, &exact) != nil || loose.Model != model || exact["model"] != model {
			t.Errorf("%q: %q, others read %q and %q", body, model, loose.Model, exact["model"])
		}
	})
}

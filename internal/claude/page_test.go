package claude

import (
	"encoding/json"
	"testing"
)

func FuzzParsePage(f *testing.F) {
	for _, text := range []string{`{"data":[{"id":"file_1"}],"has_more":true,"first_id":"file_1"}`, `{"data":[{"id":"pptx","type":"skill","source":"anthropic"}],"next_page":"x"}`, `{"data":[],"next_page":null,"has_more":1}`, `{"data":[{"id":1}]}`, `[]`, "null", `{"data":[null]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePage(text)
		if err != nil {
			return
		}
		if len(p.Data) != len(p.IDs) || len(p.Data) != len(p.BuiltIn) || p.Members == nil || p.HasMore && p.UsesTokens && p.NextToken == "" {
			t.Fatalf("%q: %+v", text, p)
		}
		for i, each := range p.Data {
			if !json.Valid(each) || p.BuiltIn[i] && isID(p.IDs[i]) {
				t.Errorf("%q: element %q", text, each)
			}
		}
	})
}

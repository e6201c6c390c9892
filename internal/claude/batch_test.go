package claude

import (
	"slices"
	"testing"
)

func TestBatchModels(t *testing.T) {
	f := func(body string, want ...string) {
		t.Helper()
		if got := BatchModels([]byte(body)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	f(`{"requests":[{"custom_id":"1","params":{"max_tokens":1,"model":"a","messages":[{"model":"x"}]}},{"params":{"model":"b"}},{"params":{"model":"a"}}]}`, "a", "b")
	f(`{"requests":[]}`)
	f(`{"requests":[1,{"params":2},{"params":{"model":3}}],"model":"x"}`)
	f(`not JSON`)
}

package transport

import (
	"maps"
	"net/http"
	"slices"
	"testing"
)

// TestTakeCopiesOfCredentials checks that a client's key does not reach an upstream in another
// header or in the query.
func TestTakeCopiesOfCredentials(t *testing.T) {
	const key = "sk-client-0123456789"
	for _, shown := range []http.Header{{"Authorization": {"Bearer " + key}}, {"X-Api-Key": {key}}, {"Authorization": {"Bearer something-else"}, "X-Api-Key": {key}}} {
		h := shown.Clone()
		maps.Copy(h, http.Header{"Api-Key": {key}, "X-Goog-Api-Key": {key}, "X-Auth-Token": {"a", "Bearer " + key}, "X-App": {"cli"}, "Helicone-Auth": {"Bearer another-key-0123"}})
		c := TakeCredentials(h)
		if got := slices.Sorted(maps.Keys(h)); !slices.Equal(got, []string{"Helicone-Auth", "X-App"}) {
			t.Errorf("%v: left %v", shown, got)
		}
		for query, want := range map[string]string{
			"beta=true": "beta=true", "key=" + key: "", "beta=true&api_key=" + key + "&limit=5": "beta=true&limit=5",
			"key=sk%2Dclient-0123456789&a=b": "a=b", "a=%zz&limit=1000000": "a=%zz&limit=1000000",
		} {
			if got := c.StripQuery(query); got != want {
				t.Errorf("CutFrom(%q) = %q, want %q", query, got, want)
			}
		}
		c.Put(h)
		if h.Get("X-Api-Key") != shown.Get("X-Api-Key") || h.Get("Authorization") != shown.Get("Authorization") {
			t.Errorf("restored %v", h)
		}
	}
	// A short credential, which is possible without auth_keys, may occur anywhere by chance.
	h := http.Header{"X-Api-Key": {"1"}, "X-Stainless-Retry-Count": {"1"}}
	if TakeCredentials(h); len(h) != 1 {
		t.Errorf("left %v", h)
	}
}

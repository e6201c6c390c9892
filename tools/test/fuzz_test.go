package main

import (
	"slices"
	"testing"
)

func TestFuzzTargets(t *testing.T) {
	got := fuzzTargets("?   \tm/none\t[no test files]\nok  \tm/empty\t0.004s\nFuzzA\nFuzzB\nok  \tm/two\t0.004s\nFuzzA\nok  \tm/one\t0.011s\n")
	if want := []fuzzTarget{{"m/two", "FuzzA"}, {"m/two", "FuzzB"}, {"m/one", "FuzzA"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

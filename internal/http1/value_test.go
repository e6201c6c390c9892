package http1

import (
	"strings"
	"testing"
)

// TestIsFieldValue compares the fast check with the slow one, with every byte in every position.
func TestIsFieldValue(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				s := strings.Repeat("x", at) + string([]byte{byte(c)}) + strings.Repeat("\xff", n-at-1)
				if got, want := isFieldValue(s), isFieldValueSlow(s); got != want {
					t.Fatalf("%q: %t, want %t", s, got, want)
				}
			}
		}
	}
}

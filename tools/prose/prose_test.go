package main

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	for text, name := range map[string]string{
		"Whoever finds no capacity waits.":                       "bare who",
		"The ledger shows who spent it.":                         "bare who",
		"The status is known. What is left is counted.":          "bare what",
		"The refusal is none that the API gives.":                "is none",
		"The request is sent anew.":                              "anew",
		"The limit is told after the handshake.":                 "told",
		"tells whether the endpoint is alive":                    "tells",
		"odd says whether the response is odd":                   "says",
		"prepare has the statements parsed.":                     "causative",
		"in a registry of its own":                               "of its own",
		"as far as it goes":                                      "as far as",
		"Nobody waits.":                                          "person",
		"The client leaves, and he is not charged.":              "person",
		"whatever it is":                                         "whatever",
		"clients who retry":                                      "",
		"A goroutine that waits reports how long it has waited.": "",
		"an account that has it cached":                          "",
		"the endpoint has its own breaker":                       "",
	} {
		findings := check([]passage{{comment, "x.go", 1, text}})
		if name == "" && len(findings) > 0 || name != "" && (len(findings) != 1 || !strings.Contains(findings[0], ": "+name+" ")) {
			t.Errorf("%q: %q, want %q", text, findings, name)
		}
	}
}

func TestReadGo(t *testing.T) {
	texts, err := read("main.go")
	if err != nil || len(texts) < 3 || texts[0].kind != comment || !strings.HasPrefix(texts[0].text, "Command prose checks") {
		t.Errorf("%+v, %v", texts, err)
	}
}

// TestTree checks the whole project.
func TestTree(t *testing.T) {
	texts, err := read("../..")
	if err != nil || len(texts) < 5000 {
		t.Fatalf("%d passages, %v", len(texts), err)
	}
	for _, f := range check(texts) {
		t.Error(f)
	}
}

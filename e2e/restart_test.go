package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestARestartKnowsWhereConversationsAreCached checks the state that the previous process saved.
func TestARestartKnowsWhereConversationsAreCached(t *testing.T) {
	t.Parallel()
	unixOnly(t, "a process cannot be asked to end")
	fakes := newFakes(t, "a", "b", "c")
	cfg := balanced("round_robin", fakes[0].entry(), fakes[1].entry(), fakes[2].entry())
	first := start(t, cfg)
	s := &session{name: "restarted"}
	first.do("POST", "/v1/messages", s.next())
	home := first.do("POST", "/v1/messages", s.next(), "X-Lb-Trace", "1").header.Get("X-Lb-Upstream")
	first.client.CloseIdleConnections()
	first.signal(syscall.SIGTERM)
	first.exitStatus()
	kept := filepath.Join(strings.TrimSuffix(first.file, ".json")+".state", "routing.snapshot")
	if _, err := os.Stat(kept); err != nil {
		t.Fatal(err)
	}

	// Round robin starts with the first server again: use that turn for another conversation.
	second := startFile(t, first.file)
	other := &session{name: "other"}
	second.do("POST", "/v1/messages", other.next())
	answer := second.do("POST", "/v1/messages", s.next(), "X-Lb-Trace", "1")
	if got := answer.header.Get("X-Lb-Upstream"); got != home || !strings.Contains(answer.header.Get("X-Lb-Reason"), "warm on "+home) {
		t.Errorf("before the restart at %s, then at %s: %s", home, got, answer.header.Get("X-Lb-Reason"))
	}
	second.client.CloseIdleConnections()
	second.signal(syscall.SIGTERM)
	second.exitStatus()

	if err := os.WriteFile(kept, []byte("not a snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := startFile(t, first.file)
	third.waitLog("saved state unusable; starting without it", about("file", kept))
	if a := third.do("POST", "/v1/messages", s.next()); a.status != 200 {
		t.Errorf("status %d", a.status)
	}
}

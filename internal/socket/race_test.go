//go:build linux && (amd64 || arm64) && race

package socket

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestWithoutRaceDetector runs the tests once more: with the race detector they do not meet the raw calls.
func TestWithoutRaceDetector(t *testing.T) {
	t.Parallel()
	const again = "SOCKET_TESTED_AGAIN"
	if os.Getenv(again) != "" {
		t.Fatal("the race detector is still there")
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-pgo=off", "-race=false", "-count=1", "-v", "-run=.", "claude-code-lb/internal/socket")
	cmd.Env = append(os.Environ(), again+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestNothingIsAllocated") { // which is a test of the raw calls
		t.Errorf("%v\n%s", err, out)
	}
}

//go:build unix

package healthcheck

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestParseBalance(t *testing.T) {
	f := func(in string, want float64, ok bool) {
		t.Helper()
		got, err := parseBalance(in)
		if (err == nil) != ok || got != want {
			t.Errorf("parseBalance(%q) = %v, %v", in, got, err)
		}
	}
	f("12.5\n", 12.5, true)
	f(" -3 ", -3, true)
	f(`"7.25"`, 7.25, true)
	f("1e3", 1000, true)
	f("", 0, false)
	f("null", 0, false)
	f("12 USD", 0, false)
	f("NaN", 0, false)
	f("Inf", 0, false)
	f("1\n2", 0, false)
}

func TestCommandEnvironmentIsMinimal(t *testing.T) {
	env := map[string]string{"PATH": "/bin", "A": "1", "B": "2", "C": "3", "OTHER_KEY": "x"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	got := strings.Join(commandEnv(`curl $A "${B}" %C% $UNSET`, lookup), " ")
	if got != "PATH=/bin A=1 B=2 C=3" {
		t.Errorf("environment %q", got)
	}
}

func TestReadBalance(t *testing.T) {
	if v, err := readBalance(t.Context(), `printf '{"b": 4}' | sed 's/[^0-9]//g'`, ""); v != 4 || err != nil {
		t.Errorf("a pipeline gave %v, %v", v, err)
	}
	if v, err := readBalance(t.Context(), `printf %s "${CLAUDE_CODE_LB_2}"`, "CLAUDE_CODE_LB_1=x y\x00CLAUDE_CODE_LB_2=7"); v != 7 || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := readBalance(t.Context(), "echo 5; exit 3", ""); err == nil {
		t.Error("a failed command gave a reading")
	}
	if _, err := readBalance(t.Context(), "yes sk-secret-token | head -c 200000", ""); err == nil || strings.Contains(err.Error(), "sk-") {
		t.Errorf("unbounded output: %v", err)
	}
}

func TestReadBalanceKillsTheWholeGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := readBalance(ctx, fmt.Sprintf("sleep 300 & echo $! > %s; mv %[1]s %[1]s.done; wait", file), "")
		done <- err
	}()
	var child int
	for child == 0 {
		content, err := os.ReadFile(file + ".done")
		if err == nil {
			fmt.Sscan(string(content), &child)
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a killed command gave a reading")
	}
	for syscall.Kill(child, 0) == nil { // until the orphan has been reaped
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
	}
}

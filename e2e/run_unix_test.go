//go:build unix

package e2e

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestRunStops checks Ctrl-Z and fg: run stops and continues with the program that it runs.
func TestRunStops(t *testing.T) {
	t.Parallel()
	d := runDesk(t, fallback(newFake(t, "a").entry()))
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("SKIPPED: there is no /proc here that shows whether a process is stopped")
	}
	cmd, _ := d.running("echo ready; kill -STOP $$; exit 9")
	eventually(t, "run is stopped", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/stat")
		return err == nil && strings.HasPrefix(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " T")
	})
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 9 {
		t.Errorf("exit status %d, want 9", got)
	}
}

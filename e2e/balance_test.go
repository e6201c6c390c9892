package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// balanceFile is a file whose content a balance check prints.
type balanceFile struct {
	t    *testing.T
	file string
}

func newPurse(t *testing.T, balance string) balanceFile {
	unixOnly(t, "balance checks of these tests are written for a POSIX shell")
	p := balanceFile{t, filepath.Join(t.TempDir(), "balance")}
	p.holds(balance)
	return p
}

func (p balanceFile) holds(balance string) { replaceFile(p.t, p.file, []byte(balance+"\n")) }

// checked returns a server with the balance in the file.
func (p balanceFile) checked(f *fake, threshold float64) object {
	return f.entry().with("balance_check", fmt.Sprintf("cat '%s'", p.file)).with("balance_check_interval", "100ms").with("balance_threshold", threshold)
}

func TestBalance(t *testing.T) {
	t.Parallel()
	purse := newPurse(t, "50")
	first, second := newFake(t, "first"), newFake(t, "second")
	b := start(t, fallback(purse.checked(first, 10), second.entry()))
	b.mustServe(true, first)

	purse.holds("10") // a balance at the threshold means out
	b.waitLog("balance low, server out", about("server", "first"))
	b.mustServe(true, second)
	if b.census("low_balance") != 1 || b.available() != 1 {
		t.Errorf("/health: %s", b.get("/health").body)
	}

	purse.holds(`"10.01"`) // in quotes, as jq prints strings
	b.waitLog("balance restored, server back", about("server", "first"))
	b.mustServe(true, first)
}

// TestLowBalanceAtTheStart checks that the first reading comes before the first request.
func TestLowBalanceAtTheStart(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first"), newFake(t, "second")
	b := start(t, fallback(newPurse(t, "0").checked(first, 0), second.entry()))
	b.mustServe(false, second)
	if first.count() != 0 {
		t.Error("a request went to an empty account")
	}
}

// TestBalanceCheckFails checks that a server keeps the state of its last reading.
func TestBalanceCheckFails(t *testing.T) {
	t.Parallel()
	const failed = "balance check failed; keeping the last reading"
	for _, test := range []struct {
		name, command string
	}{
		{"exit status", "echo 0; exit 3"},
		{"no number", "echo '<html>Bad gateway</html>'"},
		{"nothing", "true"},
		{"unknown command", "no-such-command-anywhere"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			unixOnly(t, "the commands are written for a POSIX shell")
			first, second := newFake(t, "first"), newFake(t, "second")
			b := start(t, fallback(first.entry().with("balance_check", test.command).with("balance_threshold", 100), second.entry()))
			b.waitLog(failed, about("server", "first"))
			b.mustServe(false, first)
		})
	}
	t.Run("while low", func(t *testing.T) {
		t.Parallel()
		purse := newPurse(t, "1")
		first, second := newFake(t, "first"), newFake(t, "second")
		b := start(t, fallback(purse.checked(first, 10), second.entry()))
		purse.holds("unknown")
		b.waitLog(failed, nil)
		b.mustServe(false, second)
	})
}

// TestBalanceCheckEnvironment checks that a command gets the variables that it names, and no others
// of the balancer.
func TestBalanceCheckEnvironment(t *testing.T) {
	t.Parallel()
	unixOnly(t, "the commands are written for a POSIX shell")
	out := filepath.Join(t.TempDir(), "environment")
	f := newFake(t, "a")
	entry := f.entry().with("balance_check", fmt.Sprintf("env > '%s'; echo $BALANCE_KEY", out)).with("balance_threshold", 1)
	start(t, object{"servers": []object{entry}}, "BALANCE_KEY=77", "OTHER_SECRET=sk-other-secret")
	got := readFile(t, out)
	if !strings.Contains(got, "BALANCE_KEY=77\n") || strings.Contains(got, "sk-other-secret") {
		t.Errorf("environment of the command:\n%s", got)
	}
}

// TestBalanceCheckHangs checks that a hanging command delays neither start nor end for long, and
// leaves no process.
func TestBalanceCheckHangs(t *testing.T) {
	t.Parallel()
	unixOnly(t, "the command is written for a POSIX shell")
	child := filepath.Join(t.TempDir(), "child")
	f := newFake(t, "a")
	b := start(t, balanced("random", f.entry().with("balance_check", fmt.Sprintf("sleep 600 & echo $! > '%s'; wait", child))))
	b.mustServe(true, f)
	b.signal(syscall.SIGTERM)
	if status := b.exitStatus(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, child)))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "what the command started is gone", func() bool {
		process, err := os.FindProcess(pid)
		return err != nil || process.Signal(syscall.Signal(0)) != nil || isZombie(pid)
	})
}

// isZombie reports whether a process has ended but was not waited for.
func isZombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}

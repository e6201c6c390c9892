package upstream

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

func TestLowBalance(t *testing.T) {
	file := filepath.Join(t.TempDir(), "balance")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("5")
	p := testPool(t)
	s := server(t, "a", "http://a", "t")
	s.BalanceCheck, s.BalanceThreshold = config.NewSecret("cat "+file), 5
	eps, commit := p.Reconcile(configOf(s))
	p.AwaitFirstReadings(t.Context())
	commit()

	far := t0.Add(24 * time.Hour)
	if v := eps[0].View(far, Subject{}); v.Unfit != LowBalance {
		t.Fatalf("a balance at the threshold left %+v", v)
	}
	c := p.known[eps[0].ID()].checker
	state := p.known[eps[0].ID()].state
	write("garbage")
	c.Check(t.Context(), state)
	if v := eps[0].View(far, Subject{}); v.Unfit != LowBalance {
		t.Errorf("a failed reading changed the state: %+v", v)
	}
	write("5.01")
	c.Check(t.Context(), state)
	if v := eps[0].View(far, Subject{}); v.Unfit != Fit {
		t.Errorf("a balance above the threshold left %+v", v)
	}
	write("garbage")
	c.Check(t.Context(), state)
	if v := eps[0].View(far, Subject{}); v.Unfit != Fit {
		t.Errorf("a failed reading excluded the server: %+v", v)
	}
	write("0")
	c.Check(t.Context(), state)
	s.BalanceCheck = config.Secret{}
	eps, commit = p.Reconcile(configOf(s))
	commit()
	if v := eps[0].View(far, Subject{}); v.Unfit != Fit {
		t.Errorf("without a check the balance still counts: %+v", v)
	}
}

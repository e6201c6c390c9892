package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

var errDown = errors.New("connection refused")

func down(context.Context) (*Store, error) { return nil, errDown }

// stopped runs a writer until everything is written or spilled, with n entries of ann that began at
// noon.
func stopped(t *testing.T, open func(context.Context) (*Store, error), to Spill, log *lines, n int) *Writer {
	t.Helper()
	w := NewWriter(open, event.NewBus(slog.New(slog.NewTextHandler(log, nil))), Bounds{})
	w.SpillTo(to)
	w.Open(t.Context())
	for i := range n {
		e := sample(noon.Add(time.Duration(i) * time.Millisecond))
		e.ID = fmt.Sprint("req_lb_", i)
		w.Record(e)
	}
	w.Balance("east", 4, noon)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Run(ctx)
	return w
}

func opening(where string) func(context.Context) (*Store, error) {
	return func(ctx context.Context) (*Store, error) { return Open(ctx, where) }
}

// holds checks that a ledger has n requests of sample, each once, in rows and in sums.
func holds(t *testing.T, where string, n int) {
	t.Helper()
	s := open(t, where)
	if rows := len(all(t, s)); rows != n {
		t.Errorf("%d rows, want %d", rows, n)
	}
	if total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(day)}); total.Requests != int64(n) || total.Cost != ledger.Money(n)*1_000_000_007 {
		t.Errorf("the sums are %+v, want %d requests", total, n)
	}
}

func TestRowsThatCannotBeWrittenReachTheNextProcess(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		log, to := &lines{}, Spill{Prefixes: []string{filepath.Join(t.TempDir(), "made for it", "config")}}
		const many = 2300 // several batches
		stopped(t, down, to, log, many)
		files := to.files()
		if len(files) != 1 || !strings.Contains(log.String(), telemetry.LedgerSpilled) || strings.Contains(log.String(), telemetry.LedgerLost) {
			t.Fatalf("%v\n%s", files, log)
		}
		if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		if waiting := to.Waiting(); len(waiting) != 1 || waiting[0].Requests != many {
			t.Errorf("%+v", waiting)
		}
		copied, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		stopped(t, opening(where), to, log, 0)
		holds(t, where, many)
		if len(to.files()) != 0 || !strings.Contains(log.String(), telemetry.LedgerImported) {
			t.Errorf("%v\n%s", to.files(), log)
		}
		// A process that is killed before it deletes the file leaves it to the next one.
		if err := os.WriteFile(files[0], copied, 0o600); err != nil {
			t.Fatal(err)
		}
		stopped(t, opening(where), to, log, 0)
		holds(t, where, many)
	})
}

func TestABatchWhoseCommitWasInDoubtIsRestoredOnce(t *testing.T) {
	where := filepath.Join(t.TempDir(), "ledger.db")
	s := open(t, where)
	b := &load{batch: batchOf(newNumbering(), sample(noon), sample(noon.Add(time.Second))), tries: 1}
	if err := s.append(t.Context(), b.batch); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec(`DELETE FROM batches`); err != nil { // another balancer has pruned them since
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := encodeSpill(&file, []*load{b}); err != nil {
		t.Fatal(err)
	}
	read, err := decodeSpill(&file)
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.restore(t.Context(), read)
	if err != nil || done != (Restored{Present: 2}) {
		t.Errorf("%+v, %v", done, err)
	}
	holds(t, where, 2)
}

func TestTheIDsOfRestoredBatchesAreKept(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	b := &load{batch: &batch{id: "restored", sums: tally{}, restored: true}}
	if _, err := s.restore(t.Context(), &spilled{batches: []*load{b}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), Bounds{}, time.Now().Add(100*day)); err != nil {
		t.Fatal(err)
	}
	if known, err := s.hasBatch(t.Context(), "restored"); err != nil || !known {
		t.Error("the id is forgotten while its spill may still be found", err)
	}
}

func TestSpentCountsWhatIsNotImportedYet(t *testing.T) {
	where, to := filepath.Join(t.TempDir(), "ledger.db"), Spill{Prefixes: []string{filepath.Join(t.TempDir(), "config")}}
	stopped(t, down, to, &lines{}, 3)
	w := NewWriter(opening(where), event.NewBus(slog.New(slog.DiscardHandler)), Bounds{})
	w.SpillTo(to)
	spent := func(client string, since time.Time) ledger.Money {
		t.Helper()
		money, err := w.Spent(t.Context(), client, since, noon.Add(day))
		if err != nil {
			t.Fatal(err)
		}
		return money
	}
	check := func() {
		t.Helper()
		if money := spent("ann", noon.Add(-day)); money != 3*1_000_000_007 {
			t.Errorf("ann spent %s", money)
		}
		if money := spent("ann", noon.Add(2*hour)) + spent("bob", noon.Add(-day)); money != 0 {
			t.Errorf("%s too much", money)
		}
	}
	w.searchSpills(time.Now())
	if _, err := w.opened(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
	if err := w.restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
}

func TestPlacesAreTriedInTurn(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	log := &lines{}
	to := Spill{Prefixes: []string{filepath.Join(blocked, "config"), filepath.Join(t.TempDir(), "config")}, Print: &printed, Command: "claude-code-lb ledger import -"}
	stopped(t, down, to, log, 2)
	if len(to.files()) != 1 || printed.Len() > 0 {
		t.Errorf("%v, printed %q", to.files(), &printed)
	}
	to.Prefixes = to.Prefixes[:1]
	stopped(t, down, to, log, 2)
	if !strings.Contains(log.String(), `command="claude-code-lb ledger import -"`) {
		t.Error(log)
	}
	where := filepath.Join(t.TempDir(), "ledger.db")
	noise := "2026-05-01T12:00:00Z INFO stopped\n" + strings.ReplaceAll(printed.String(), "\n{", "\nlb-1  | {") + "\n\n"
	done, err := Import(t.Context(), open(t, where), strings.NewReader(noise))
	if err != nil || done != (Restored{Requests: 2}) {
		t.Errorf("%+v, %v", done, err)
	}
	holds(t, where, 2)

	to.Print = nil
	stopped(t, down, to, log, 2)
	if !strings.Contains(log.String(), telemetry.LedgerLost) {
		t.Error("rows are lost and the log does not say so")
	}
}

func TestADamagedSpillIsImportedAsFarAsItGoes(t *testing.T) {
	dir := t.TempDir()
	to := Spill{Prefixes: []string{filepath.Join(dir, "config")}}
	stopped(t, down, to, &lines{}, 10)
	file := to.files()[0]
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, int64(len(text)-100)); err != nil {
		t.Fatal(err)
	}
	where, log := filepath.Join(t.TempDir(), "ledger.db"), &lines{}
	stopped(t, opening(where), to, log, 0)
	s := open(t, where)
	if n := len(all(t, s)); n != 9 {
		t.Errorf("%d rows", n)
	}
	if total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(day)}); total.Requests != 10 {
		t.Errorf("%+v", total)
	}
	if _, err := os.Stat(file + damagedSuffix); err != nil || len(to.files()) != 0 || !strings.Contains(log.String(), telemetry.LedgerDamaged) {
		t.Errorf("%v\n%s", err, log)
	}
}

func TestASpillOfANewerProgramIsLeftAlone(t *testing.T) {
	to := Spill{Prefixes: []string{filepath.Join(t.TempDir(), "config")}}
	file := to.Prefixes[0] + spillInfix + "1" + spillSuffix
	if err := os.WriteFile(file, []byte(`{"ledger":"batch","batch":"b","version":2,"lines":1}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	stopped(t, opening(filepath.Join(t.TempDir(), "ledger.db")), to, log, 0)
	if len(to.files()) != 1 || !strings.Contains(log.String(), "newer version") {
		t.Error(log)
	}
}

func FuzzDecodeSpill(f *testing.F) {
	var file bytes.Buffer
	b := &load{batch: batchOf(newNumbering(), sample(noon)), readings: []Reading{{"east", noon, 4}}}
	if err := encodeSpill(&file, []*load{b}); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add([]byte(`x {"ledger":"sums","batch":"b","slot":-1}` + "\n" + `{"ledger":"row","batch":"b","row":1,"entry":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		read, err := decodeSpill(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := encodeSpill(&again, read.batches); err != nil {
			t.Fatal(err)
		}
		back, err := decodeSpill(&again)
		if err != nil || back.damaged > 0 || len(back.batches) != len(read.batches) {
			t.Fatalf("%v, %d damaged, %d of %d batches", err, back.damaged, len(back.batches), len(read.batches))
		}
		for i, b := range back.batches {
			if !cmp.Equal(b.sums, read.batches[i].sums) || len(b.rows) != len(read.batches[i].rows) {
				t.Fatal("not the same after a round trip")
			}
		}
	})
}

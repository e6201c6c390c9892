package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// lines is a log that tests read.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestTheWriterWritesWhatIsLeftAtTheEnd(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		w := NewWriter(func(ctx context.Context) (*Store, error) { return Open(ctx, where) }, event.NewBus(slog.New(slog.DiscardHandler)), Bounds{})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { w.Run(ctx) })
		const many = 1700
		for i := range many {
			e := sample(noon.Add(time.Duration(i) * time.Millisecond))
			e.ID = fmt.Sprint("req_lb_", i)
			w.Record(e)
		}
		w.Balance("east", 4, noon)
		cancel()
		running.Wait()
		s := open(t, where)
		if n := len(all(t, s)); n != many {
			t.Errorf("%d rows", n)
		}
		if total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(day)}); total.Requests != many {
			t.Errorf("%+v", total)
		}
		if rows, _, _, folded := w.Backlog(); rows != 0 || folded != 0 {
			t.Errorf("backlog %d, aggregated %d", rows, folded)
		}
		if readings, err := s.readings(t.Context(), noon.Add(-day), noon.Add(day)); err != nil || len(readings) != 1 {
			t.Errorf("%v, %v", readings, err)
		}
	})
}

func TestAnAbsentDatabaseDelaysRowsAndLosesNothing(t *testing.T) {
	where := filepath.Join(t.TempDir(), "ledger.db")
	s := open(t, where)
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		log := &lines{}
		w := NewWriter(func(ctx context.Context) (*Store, error) {
			if down.Load() {
				return nil, errors.New("connection refused")
			}
			return s, nil
		}, event.NewBus(slog.New(slog.NewTextHandler(log, nil))), Bounds{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.Run(ctx)
		w.Record(sample(noon))
		time.Sleep(time.Minute)
		w.Record(sample(noon))
		if rows, oldest, _, _ := w.Backlog(); rows != 2 || oldest < time.Minute {
			t.Errorf("backlog %d for %s", rows, oldest)
		}
		time.Sleep(5 * time.Minute)
		if n := strings.Count(log.String(), "ledger not written"); n < 7 || n > 9 || !strings.Contains(log.String(), "rows=2 ") {
			t.Errorf("%d complaints in 6 minutes:\n%s", n, log)
		}
		if reason, since := w.Trouble(); reason != "connection refused" || time.Since(since) < 6*time.Minute-flushDelay {
			t.Errorf("trouble %q since %s", reason, since)
		}
		if _, _, late, _ := w.Backlog(); late != 2 {
			t.Errorf("late %d while it lasts", late)
		}
		w.Record(sample(noon))
		down.Store(false)
		time.Sleep(time.Minute)
		if rows, _, late, _ := w.Backlog(); rows != 0 || late != 3 {
			t.Errorf("backlog %d, late %d", rows, late)
		}
		if !strings.Contains(log.String(), `"ledger caught up" rows=3`) {
			t.Error(log)
		}
		if reason, _ := w.Trouble(); reason != "" {
			t.Error("trouble after it is over:", reason)
		}
		w.Record(sample(noon))
		time.Sleep(time.Second)
		if _, _, late, _ := w.Backlog(); late != 3 {
			t.Errorf("late %d afterwards", late)
		}
		if rows := w.Unwritten(); rows != 0 {
			t.Errorf("%d rows unwritten", rows)
		}
		if n := len(all(t, s)); n != 4 {
			t.Errorf("%d rows", n)
		}
		cancel()
		synctest.Wait()
	})
}

func TestWhatMemoryCannotHoldIsSummedUp(t *testing.T) {
	where := filepath.Join(t.TempDir(), "ledger.db")
	var down atomic.Bool
	down.Store(true)
	w := NewWriter(func(ctx context.Context) (*Store, error) {
		if down.Load() {
			return nil, errors.New("connection refused")
		}
		return Open(ctx, where)
	}, event.NewBus(slog.New(slog.DiscardHandler)), Bounds{})
	e := sample(noon)
	w.room = 1 << 20
	fits := w.room/(&row{entry: string(appendEntry(nil, &e)), prompt: e.Prompt}).size() + 1
	for range fits + 1000 {
		w.Record(e)
	}
	if _, _, _, folded := w.Backlog(); folded != 1000 {
		t.Errorf("%d without a row", folded)
	}
	down.Store(false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Run(ctx)
	s := open(t, where)
	if n := len(all(t, s)); n != fits {
		t.Errorf("%d rows, want %d", n, fits)
	}
	if total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(day)}); total.Requests != int64(fits)+1000 || total.Output != 20*(int64(fits)+1000) {
		t.Errorf("%+v", total)
	}
}

func TestARowThatNoDatabaseTakesHoldsUpNoOther(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		log := &lines{}
		w := NewWriter(func(ctx context.Context) (*Store, error) { return Open(ctx, where) }, event.NewBus(slog.New(slog.NewTextHandler(log, nil))), Bounds{})
		w.Record(sample(noon))
		w.Record(sample(noon.Add(time.Second)))
		w.rows[1].id = w.rows[0].id // as if two balancers had drawn the same number
		w.Record(sample(noon.Add(2 * time.Second)))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.Run(ctx)
		s := open(t, where)
		if n := len(all(t, s)); n != 2 {
			t.Errorf("%d rows", n)
		}
		if total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(day)}); total.Requests != 3 {
			t.Errorf("%+v", total)
		}
		if !strings.Contains(log.String(), "rows lost") {
			t.Error(log)
		}
	})
}

// killedVariable makes this test binary run as the process that is killed.
const killedVariable = "TEST_LEDGER_TO_KILL"

// TestKilledProcessLosesNoCommittedRow kills a process, as kill -9 does, during a write, and looks
// for every row whose commit was reported.
func TestKilledProcessLosesNoCommittedRow(t *testing.T) {
	if where := os.Getenv(killedVariable); where != "" {
		writeUntilKilled(t, where)
		return
	}
	where := filepath.Join(t.TempDir(), "ledger.db")
	self := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	self.Env = append(os.Environ(), killedVariable+"="+where)
	out, err := self.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Start(); err != nil {
		t.Fatal(err)
	}
	committed := 0
	for in := bufio.NewScanner(out); in.Scan(); {
		n, found := strings.CutPrefix(in.Text(), "committed ")
		if !found {
			continue
		}
		if committed, err = strconv.Atoi(n); err != nil {
			t.Fatal(err)
		}
		if committed == 2000 {
			if err := self.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = self.Wait() // it was killed
	s := open(t, where)
	var check string
	if err := s.db.QueryRow(`PRAGMA integrity_check`).Scan(&check); err != nil || check != "ok" {
		t.Errorf("%s, %v", check, err)
	}
	rows := len(all(t, s))
	if rows < committed || committed < 2000 {
		t.Errorf("%d rows, %d were committed", rows, committed)
	}
	if total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(10 * day)}); total.Requests != int64(rows) {
		t.Errorf("%d rows, but sums of %d", rows, total.Requests)
	}
}

func writeUntilKilled(t *testing.T, where string) {
	s := open(t, where)
	ids := newNumbering()
	for n := 0; ; n += 10 {
		var entries []ledger.Entry
		for k := range 10 {
			entries = append(entries, sample(noon.Add(time.Duration(n+k)*time.Second)))
		}
		if err := s.append(t.Context(), batchOf(ids, entries...)); err != nil {
			t.Fatal(err)
		}
		fmt.Println("committed", n+10)
	}
}

// TestADeletedFileIsMadeAnew deletes the ledger while the balancer runs.
func TestADeletedFileIsMadeAnew(t *testing.T) {
	where := filepath.Join(t.TempDir(), "ledger.db")
	var log lines
	w := NewWriter(func(ctx context.Context) (*Store, error) { return Open(ctx, where) }, event.NewBus(slog.New(slog.NewTextHandler(&log, nil))), Bounds{})
	w.Record(sample(noon))
	w.flush(t.Context())
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(where + end); err != nil {
			t.Skip("an open file cannot be deleted here:", err)
		}
	}
	w.Record(sample(noon))
	w.finish(t.Context())
	if n := len(all(t, open(t, where))); n != 1 {
		t.Errorf("%d rows in the new file", n)
	}
	if strings.Count(log.String(), telemetry.LedgerReplaced) != 1 {
		t.Error(log.String())
	}
}

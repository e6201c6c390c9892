package telemetry

import (
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reader accepts one line per value in its channel, and blocks otherwise.
type reader struct {
	stuck  chan struct{}
	mu     sync.Mutex
	text   strings.Builder
	writes int
}

func (r *reader) Write(p []byte) (int, error) {
	r.stuck <- struct{}{}
	defer func() { <-r.stuck }()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	return r.text.Write(p)
}

func (r *reader) seen() (text string, writes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String(), r.writes
}

// background logs to w, inside a synctest bubble.
func background(w io.Writer) (*slog.Logger, func()) {
	return NewBackgroundLogger(w, FormatJSON, slog.LevelInfo, func(string) (string, bool) { return "", false })
}

func TestLinesAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{stuck: make(chan struct{}, 1)}
		log, flush := background(r)
		f := func(when string, wantLines, wantWrites int) {
			t.Helper()
			synctest.Wait()
			if text, writes := r.seen(); strings.Count(text, "\n") != wantLines || writes != wantWrites {
				t.Errorf("%s: %d writes, want %d, and %d lines:\n%s", when, writes, wantWrites, wantLines, text)
			}
		}
		log.Info("a")
		log.Info("b")
		f("at once", 0, 0)
		time.Sleep(flushDelay)
		f("after a while", 2, 1)
		log.With(ID, "x").WithGroup("g").Info("c")
		log.Warn("trouble")
		f("with trouble", 4, 2)
		log.Info(strings.Repeat("long", batchSize/4))
		f("when it is much", 5, 3)
		log.Info("last")
		flush()
		f("at the end", 6, 4)
		flush()
		log.Info("later")
		f("behind the end", 7, 5)
	})
}

// TestStuckReader checks that a blocked log output blocks no caller, that the queue is bounded, and
// that the number of dropped lines is logged.
func TestStuckReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{stuck: make(chan struct{}, 1)}
		log, flush := background(r)
		long := strings.Repeat("x", maxQueued/16)
		r.stuck <- struct{}{}
		log.Info(long)
		time.Sleep(flushDelay)
		for range 20 {
			log.Info(long) // sixteen of them fill the queue
		}
		<-r.stuck
		flush()
		text, _ := r.seen()
		if n := strings.Count(text, long); n != 17 {
			t.Errorf("%d of 21 lines were written, want 17", n)
		}
		if want := `"msg":"` + LinesDropped + `","rows":4}` + "\n"; !strings.HasSuffix(text, want) {
			t.Errorf("the log ends with %q, want %q", text[len(text)-200:], want)
		}
	})
}

// TestTheEndDoesNotWaitForAStuckReader checks that close waits for closeTimeout at most.
func TestTheEndDoesNotWaitForAStuckReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{stuck: make(chan struct{}, 1)}
		log, flush := background(r)
		r.stuck <- struct{}{}
		log.Info("a")
		begin := time.Now()
		flush()
		if took := time.Since(begin); took != closeTimeout {
			t.Errorf("took %v, want %v", took, closeTimeout)
		}
		<-r.stuck
	})
}

// TestManyLoggers checks that each line of concurrent loggers is written once and whole.
func TestManyLoggers(t *testing.T) {
	r := &reader{stuck: make(chan struct{}, 1)}
	log, flush := background(r)
	var writing sync.WaitGroup
	for range 8 {
		writing.Go(func() {
			for i := range 500 {
				log.Log(t.Context(), slog.Level(i%2*4), "line", Rows, i)
			}
		})
	}
	writing.Wait()
	flush()
	text, _ := r.seen()
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}\n") {
			t.Fatalf("a torn line: %q", line)
		}
	}
	if n := strings.Count(text, "\n"); n != 4000 {
		t.Errorf("%d lines, want 4000", n)
	}
}

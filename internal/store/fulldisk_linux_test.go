package store

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// smallDisk mounts a file system of the given size.
func smallDisk(t *testing.T, bytes string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+bytes); err != nil {
		t.Skip("no file system can be mounted here:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill fills the disk and returns a function that frees the space again.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	for err = nil; err == nil; {
		_, err = f.Write([]byte{0})
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAFullDiskLosesNothing stops on a full disk, starts on the same full disk, and starts again
// when space is free.
func TestAFullDiskLosesNothing(t *testing.T) {
	disk := smallDisk(t, "1m")
	where := filepath.Join(disk, "ledger.db")
	stopped(t, opening(where), Spill{}, &lines{}, 10)
	empty := fill(t, disk)
	log, to := &lines{}, Spill{Prefixes: []string{filepath.Join(disk, "config"), filepath.Join(t.TempDir(), "config")}}
	late := func(n, spent int) {
		t.Helper()
		w := NewWriter(opening(where), event.NewBus(slog.New(slog.NewTextHandler(log, nil))), Bounds{})
		w.SpillTo(to)
		w.ReadWith(func(ctx context.Context) (*Store, error) { return OpenReader(ctx, where) })
		w.Open(t.Context())
		money, err := w.Spent(t.Context(), "ann", noon.Add(-day), noon.Add(day))
		if err != nil || money != ledger.Money(spent)*1_000_000_007 {
			t.Errorf("%s spent before, want that of %d requests: %v", money, spent, err)
		}
		for i := range n {
			w.Record(sample(noon.Add(time.Minute + time.Duration(len(log.String())+i)*time.Millisecond)))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.Run(ctx)
	}
	reads := func() {
		t.Helper()
		s, err := OpenReader(t.Context(), where)
		if err != nil {
			t.Fatal("a report on a full disk:", err)
		}
		defer s.Close()
		if total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(day)}); total.Requests != 10 {
			t.Errorf("%+v", total)
		}
	}
	reads()
	late(100, 10)
	reads()
	late(28, 110)
	if n := len(to.files()); n != 2 || strings.Contains(log.String(), "given up") {
		t.Fatalf("%d files\n%s", n, log)
	}
	reads()
	empty()
	late(0, 138)
	if n := len(to.files()); n != 0 {
		t.Errorf("%d files are left\n%s", n, log)
	}
	holds(t, where, 138)
}

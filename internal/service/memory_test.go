package service

import (
	"io/fs"
	"runtime"
	"testing"
	"time"
)

func TestContainerLimit(t *testing.T) {
	f := func(file, text string, want int64) {
		t.Helper()
		got := containerLimit(func(name string) ([]byte, error) {
			if name != file {
				return nil, fs.ErrNotExist
			}
			return []byte(text), nil
		})
		if got != want {
			t.Errorf("%s %q: %d, want %d", file, text, got, want)
		}
	}
	f("/sys/fs/cgroup/memory.max", "536870912\n", 512<<20)
	f("/sys/fs/cgroup/memory.max", "max\n", 0)
	f("/sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n", 512<<20)
	f("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n", 0)
	f("/nowhere", "1", 0)
}

func TestGCPercent(t *testing.T) {
	f := func(live uint64, want int) {
		t.Helper()
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes: %d %%, want %d %%", live, got, want)
		}
	}
	f(0, 1200)
	f(8<<20, 1200)
	f(32<<20, 300)
	f(96<<20, 100)
	f(192<<20, 50)
	f(4<<30, 50)
}

func TestEveryCollectionIsNoticed(t *testing.T) {
	calls := make(chan struct{}, 100)
	afterEveryCollection(func() {
		select {
		case calls <- struct{}{}:
		default:
		}
	})
	for range 3 {
		runtime.GC()
		select {
		case <-calls:
		case <-time.After(10 * time.Second):
			t.Fatal("no call after a collection")
		}
	}
}

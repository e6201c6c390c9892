package service

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	// minGarbage is how many bytes of garbage may accumulate before a collection, also with a small
	// heap: with a few live megabytes the collector would otherwise run all the time.
	minGarbage = 96 << 20
	// largeHeapPercent is the growth of a large heap until its next collection. Nearly all of it
	// belongs to open streams, which live long and produce little garbage: a larger percentage
	// would only waste memory.
	largeHeapPercent = 50
	// limitShare is the part of a container's memory that the Go runtime may use. The other part is
	// for the kernel.
	limitShare = 0.9
)

// tuneMemory sets the memory limit from that of the container, and lets the garbage collector run
// rarely while the heap is small. GOGC and GOMEMLIMIT have precedence.
func tuneMemory(std Std, log *slog.Logger) {
	if _, given := std.Env("GOMEMLIMIT"); !given {
		if limit := containerLimit(os.ReadFile); limit > 0 {
			debug.SetMemoryLimit(int64(limitShare * float64(limit)))
			log.Info(telemetry.MemoryLimit, telemetry.MaxSizeMB, int64(limitShare*float64(limit))>>20)
		}
	}
	if _, given := std.Env("GOGC"); !given {
		debug.SetGCPercent(gcPercent(0))
		afterEveryCollection(func() { debug.SetGCPercent(gcPercent(liveHeap())) })
	}
}

// gcPercent returns the value of GOGC for a number of live bytes.
func gcPercent(live uint64) int {
	return max(largeHeapPercent, int(minGarbage*100/max(live, 8<<20)))
}

// liveHeap returns how many bytes the last collection left.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// sentinel is an object without references, which the next collection frees. It is too large for
// the tiny allocator, which would combine it with others.
type sentinel [32]byte

// afterEveryCollection calls f after each garbage collection until the process ends.
func afterEveryCollection(f func()) {
	runtime.AddCleanup(&sentinel{}, func(f func()) {
		f()
		afterEveryCollection(f)
	}, f)
}

// containerLimit returns the memory limit of this process's control group in bytes, 0 without a
// limit.
func containerLimit(read func(string) ([]byte, error)) int64 {
	for _, file := range [...]string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := read(file)
		if err != nil {
			continue
		}
		const unlimited = 1 << 50 // cgroup v1 writes a larger number if there is no limit
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && n < unlimited {
			return n
		}
	}
	return 0
}

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
	// headway is how much garbage may gather before it is collected, however little is alive: a balancer that
	// holds a few megabytes would otherwise collect all the time.
	headway = 96 << 20
	// usualGrowth is by how many percent a large heap grows before it is collected. Nearly all of it belongs to open streams, which
	// live long and make little garbage: more would be memory for nothing.
	usualGrowth = 50
	// limitShare is the part of a container's memory that the heap may take; the rest is for stacks and the kernel.
	limitShare = 0.9
)

// tuneMemory makes the garbage collector lazy as long as little is alive, and careful near the limit of a container.
// What the operator says with GOGC and GOMEMLIMIT holds.
func tuneMemory(std Std, log *slog.Logger) {
	if _, given := std.Env("GOMEMLIMIT"); !given {
		if limit := containerLimit(os.ReadFile); limit > 0 {
			debug.SetMemoryLimit(int64(limitShare * float64(limit)))
			log.Info(telemetry.MemoryLimit, telemetry.MaxSizeMB, int64(limitShare*float64(limit))>>20)
		}
	}
	if _, given := std.Env("GOGC"); !given {
		debug.SetGCPercent(growth(0))
		afterEveryCollection(func() { debug.SetGCPercent(growth(alive())) })
	}
}

// growth is by how many percent the heap may grow beyond what is alive.
func growth(alive uint64) int {
	return max(usualGrowth, int(headway*100/max(alive, 8<<20)))
}

// alive is how many bytes the last collection left.
func alive() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// collected is an object that nobody holds: it goes with the next collection. It has a size of its own, for tiny objects share one.
type collected [32]byte

// afterEveryCollection calls f after each garbage collection, for as long as the process lives.
func afterEveryCollection(f func()) {
	runtime.AddCleanup(&collected{}, func(f func()) {
		f()
		afterEveryCollection(f)
	}, f)
}

// containerLimit is the memory that the control group of this process may take, in bytes; 0 where there is no limit.
func containerLimit(read func(string) ([]byte, error)) int64 {
	for _, file := range [...]string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := read(file)
		if err != nil {
			continue
		}
		const absurd = 1 << 50 // how version 1 says that there is none
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && n < absurd {
			return n
		}
	}
	return 0
}

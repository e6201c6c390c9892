package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// process is the usage of a process at one time.
type process struct {
	parent int
	cpu    time.Duration // user and system time since its start
	rss    int64         // resident memory in bytes
}

// usageOf returns processor time and resident memory of a process and its descendants.
func usageOf(ctx context.Context, pid int) (process, error) {
	read := fromPS
	if runtime.GOOS == "linux" {
		read = fromProc
	}
	all, err := read(ctx)
	if err != nil {
		return process{}, err
	}
	if _, lives := all[pid]; !lives {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	return family(all, pid), nil
}

// family adds up a process and its descendants.
func family(all map[int]process, root int) process {
	sum := all[root]
	for pid, p := range all {
		if p.parent == root && pid != root {
			below := family(all, pid)
			sum.cpu += below.cpu
			sum.rss += below.rss
		}
	}
	return sum
}

func fromProc(context.Context) (map[int]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		if all[pid], err = parseStat(text, os.Getpagesize()); err != nil {
			return nil, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	return all, nil
}

// parseStat parses /proc/PID/stat, see proc_pid_stat(5).
func parseStat(text []byte, pageSize int) (process, error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go supports
	// The command's name, in parentheses, may contain spaces and parentheses: the fields begin
	// after the last one.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const parent, user, system, resident = 1, 11, 12, 21 // fields 4, 14, 15 and 24 of the manual
	if len(fields) <= resident {
		return process{}, errors.New("too few fields")
	}
	var numbers [4]int64
	for i, at := range [...]int{parent, user, system, resident} {
		n, err := strconv.ParseInt(string(fields[at]), 10, 64)
		if err != nil {
			return process{}, err
		}
		numbers[i] = n
	}
	return process{
		parent: int(numbers[0]),
		cpu:    time.Duration(numbers[1]+numbers[2]) * tick,
		rss:    numbers[3] * int64(pageSize),
	}, nil
}

func fromPS(ctx context.Context) (map[int]process, error) {
	out, err := exec.CommandContext(ctx, "ps", "-axo", "pid=,ppid=,rss=,time=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	return parsePS(string(out))
}

// parsePS parses lines of pid, parent, resident KiB and processor time.
func parsePS(text string) (map[int]process, error) {
	all := map[int]process{}
	for line := range strings.Lines(text) {
		var pid, parent int
		var kib int64
		var clock string
		if _, err := fmt.Sscan(line, &pid, &parent, &kib, &clock); err != nil {
			return nil, fmt.Errorf("ps: line %q: %w", line, err)
		}
		cpu, err := parseClock(clock)
		if err != nil {
			return nil, fmt.Errorf("ps: line %q: %w", line, err)
		}
		all[pid] = process{parent: parent, cpu: cpu, rss: kib << 10}
	}
	return all, nil
}

// parseClock parses [[days-]hours:]minutes:seconds, with or without a fraction of seconds.
func parseClock(text string) (time.Duration, error) {
	days, clock, hasDays := strings.Cut(text, "-")
	if !hasDays {
		days, clock = "0", text
	}
	seconds, err := strconv.ParseFloat(days, 64)
	if err != nil {
		return 0, err
	}
	parts := strings.Split(clock, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return 0, fmt.Errorf("%q is no processor time", text)
	}
	if len(parts) == 2 {
		parts = append([]string{"0"}, parts...)
	}
	for i, scale := range [...]float64{24, 60, 60} {
		n, err := strconv.ParseFloat(parts[i], 64)
		if err != nil {
			return 0, err
		}
		seconds = seconds*scale + n
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

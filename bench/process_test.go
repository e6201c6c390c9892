package main

import (
	"maps"
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	f := func(text string, want process) {
		t.Helper()
		got, err := parseStat([]byte(text), 4096)
		if err != nil || got != want {
			t.Errorf("parseStat(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	const rest = " 1 2 3 4 5 6 7 8 9 150 25 900 900 20 0 4 0 77 1000000 512 18446744073709551615 1 1\n"
	f("42 (nginx) S 7"+rest, process{parent: 7, cpu: 1750 * time.Millisecond, rss: 512 * 4096})
	f("42 (a) b (c) R 7"+rest, process{parent: 7, cpu: 1750 * time.Millisecond, rss: 512 * 4096})

	for _, text := range []string{"", "42 (nginx) S 7 1 2", "42 (nginx) S x" + rest, "42 nginx S 7" + rest[:20]} {
		if got, err := parseStat([]byte(text), 4096); err == nil {
			t.Errorf("parseStat(%q) = %+v, no error", text, got)
		}
	}
}

func TestParsePS(t *testing.T) {
	t.Parallel()
	got, err := parsePS("    1     0  12345   0:07.25\n 4711     1    800  1:02:03\n 4712  4711  16    2-00:00:01\n")
	want := map[int]process{
		1:    {parent: 0, cpu: 7250 * time.Millisecond, rss: 12345 << 10},
		4711: {parent: 1, cpu: time.Hour + 2*time.Minute + 3*time.Second, rss: 800 << 10},
		4712: {parent: 4711, cpu: 48*time.Hour + time.Second, rss: 16 << 10},
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, text := range []string{"1 2\n", "1 2 3 4\n", "1 2 3 a:b\n", "1 2 3 1:2:3:4\n", "1 2 3 x-1:2\n"} {
		if got, err := parsePS(text); err == nil {
			t.Errorf("parsePS(%q) = %+v, no error", text, got)
		}
	}
}

func TestFamily(t *testing.T) {
	t.Parallel()
	all := map[int]process{
		0:  {parent: 0, cpu: 1000}, // a kernel thread
		1:  {parent: 0, cpu: 100, rss: 100},
		10: {parent: 1, cpu: 1, rss: 10},
		11: {parent: 10, cpu: 2, rss: 20},
		12: {parent: 11, cpu: 4, rss: 40},
		13: {parent: 1, cpu: 8, rss: 80},
	}
	if got, want := family(all, 10), (process{parent: 1, cpu: 7, rss: 70}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	t.Parallel()
	unixOnly(t)
	got, err := usageOf(t.Context(), os.Getpid())
	if err != nil || got.rss < 1<<20 || got.parent == 0 {
		t.Errorf("usageOf = %+v, %v", got, err)
	}
	if _, err := usageOf(t.Context(), 1<<30); err == nil {
		t.Error("no error for a process that does not exist")
	}
}

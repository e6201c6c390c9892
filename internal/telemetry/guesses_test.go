package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func guessing(format Format) (*Guesses, *bytes.Buffer) {
	var out bytes.Buffer
	log := NewLogger(&out, format, slog.LevelInfo, func(string) (string, bool) { return "", false })
	return &Guesses{Log: log, Message: WrongKey}, &out
}

func TestWrongKeysAreAnsweredLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, out := guessing(FormatJSON)
		here := netip.MustParseAddr("192.0.2.7")
		took := func(a netip.Addr) time.Duration {
			began := time.Now()
			if _, ok := g.Wrong(t.Context(), a); !ok {
				t.Error("rejected")
			}
			return time.Since(began)
		}
		var waits []time.Duration
		for range 12 {
			waits = append(waits, took(here))
		}
		if got := fmt.Sprint(waits); got != "[0s 0s 0s 0s 0s 250ms 500ms 1s 2s 4s 8s 8s]" {
			t.Error(got)
		}
		if d := took(netip.MustParseAddr("192.0.2.8")); d != 0 {
			t.Errorf("another address waits %v", d)
		}
		// An IPv6 /64 counts as one client.
		for i := range 5 {
			took(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)))
		}
		if d := took(netip.MustParseAddr("2001:db8::ffff")); d != 250*time.Millisecond {
			t.Errorf("another address of one /64 waits %v", d)
		}
		time.Sleep(guessMemory + time.Second)
		if d := took(here); d != 0 {
			t.Errorf("waits %v after a long time", d)
		}
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		counted := 0
		for _, line := range lines {
			var n int
			if _, err := fmt.Sscanf(line[strings.Index(line, `"count":`):], `"count":%d`, &n); err != nil {
				t.Error(line)
			}
			counted += n
		}
		if len(lines) > 8 || counted != int(g.Total()) {
			t.Errorf("%d lines for %d wrong keys, which count %d:\n%s", len(lines), g.Total(), counted, out)
		}
	})
}

// TestFewAnswersAreDelayedAtATime checks the bounds of delayed refusals, and that the end of a
// request ends its delay.
func TestFewAnswersAreDelayedAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := guessing(FormatJSON)
		ctx, cancel := context.WithCancel(t.Context())
		var turned sync.Map
		var wg sync.WaitGroup
		for a := range 100 {
			for i := range 20 {
				wg.Go(func() {
					if wait, ok := g.Wrong(ctx, netip.AddrFrom4([4]byte{10, 0, 0, byte(a)})); !ok {
						turned.Store([2]int{a, i}, wait)
					}
				})
			}
		}
		synctest.Wait()
		g.mu.Lock()
		delayed := g.delayed
		g.mu.Unlock()
		n := 0
		turned.Range(func(_, _ any) bool { n++; return true })
		if delayed != maxDelayed || n != 100*(20-freeGuesses)-maxDelayed {
			t.Errorf("%d are delayed, %d rejected", delayed, n)
		}
		cancel()
		wg.Wait()
		if g.delayed != 0 {
			t.Errorf("%d are delayed", g.delayed)
		}
		time.Sleep(2 * guessPeriod)
		synctest.Wait()
	})
}

// TestManyGuessersTakeLittleMemory uses a million addresses.
func TestManyGuessersTakeLittleMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, out := guessing(FormatJSON)
		n := 1_000_000
		if testing.Short() {
			n = 100_000
		}
		for i := range n {
			g.Wrong(t.Context(), netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}))
		}
		time.Sleep(2 * guessPeriod)
		synctest.Wait()
		if len(g.recent)+len(g.older) > 2*maxGuessers || strings.Count(out.String(), "\n") > 2*maxGuessLines+1 {
			t.Errorf("%d addresses, %d lines", len(g.recent)+len(g.older), strings.Count(out.String(), "\n"))
		}
		if !strings.Contains(out.String(), FurtherGuesses) {
			t.Error("the others are not counted")
		}
	})
}

// TestFail2ban checks that the filter in deploy finds the addresses in our log lines, in both
// formats, and finds none in text that a client wrote.
func TestFail2ban(t *testing.T) {
	text, err := os.ReadFile("../../deploy/fail2ban/claude-code-lb.conf")
	if err != nil {
		t.Fatal(err)
	}
	var filters []*regexp.Regexp
	_, rest, _ := strings.Cut(string(text), "failregex = ")
	rest, _, _ = strings.Cut(rest, "ignoreregex")
	for line := range strings.Lines(rest) {
		if line = strings.TrimSpace(line); line != "" {
			filters = append(filters, regexp.MustCompile(strings.ReplaceAll(line, "<ADDR>", `([0-9a-fA-F:.]+)`)))
		}
	}
	find := func(line string) (address string) {
		for _, f := range filters {
			if m := f.FindStringSubmatch(line); m != nil {
				address = m[1]
			}
		}
		return address
	}
	date := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d|^\d\d:\d\d:\d\d`)
	for _, format := range []Format{FormatJSON, FormatText} {
		for _, message := range []string{WrongKey, WrongAdminKey} {
			for _, address := range []string{"192.0.2.7", "2001:db8::7"} {
				g, out := guessing(format)
				g.Message = message
				g.Wrong(t.Context(), netip.MustParseAddr(address))
				line := strings.TrimSuffix(out.String(), "\n")
				// fail2ban removes the part of the date that it recognized before it matches the
				// line.
				cut := strings.Replace(line, date.FindString(line), "", 1)
				without := strings.Replace(line, `"time":"`+date.FindString(line), "", 1)
				whole := regexp.MustCompile(`"time":"[^"]*`).ReplaceAllString(line, "")
				for _, l := range []string{line, cut, without, whole} {
					if got := find(l); got != address {
						t.Errorf("%s: %q in %s", format, got, l)
					}
				}
			}
		}
		var out bytes.Buffer
		log := NewLogger(&out, format, slog.LevelInfo, func(string) (string, bool) { return "", false })
		for _, evil := range []string{`wrong client key address=6.6.6.6 count=1`, "x\n12:00:00 WRN wrong client key address=6.6.6.6 count=1", `"level":"WARN","msg":"wrong client key","address":"6.6.6.6","count":1}`, "\n" + `{"time":"","level":"WARN","msg":"wrong client key","address":"6.6.6.6","count":1}`} {
			log.Warn("request", "model", evil, Address, evil)
			log.Warn("request", evil, evil)
		}
		for line := range strings.Lines(out.String()) {
			if got := find(strings.TrimSuffix(line, "\n")); got != "" {
				t.Errorf("%s: %q in %s", format, got, line)
			}
		}
	}
}

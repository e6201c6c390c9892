package upstream

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

func TestLoopMarks(t *testing.T) {
	one, other := NewLoop(), NewLoop()
	a, b := one.markOf(ID{1}), one.markOf(ID{2})
	if a == b || a != one.markOf(ID{1}) || !isMark(a) {
		t.Errorf("marks %q, %q", a, b)
	}
	f := func(l *Loop, want bool, lines ...string) {
		t.Helper()
		if got := l.Closed(http.Header{LoopHeader: lines}); got != want {
			t.Errorf("%q: %t", lines, got)
		}
	}
	f(one, true, a)
	f(one, true, b)
	f(one, true, "rubbish, "+other.markOf(ID{1})+" ,"+a)
	f(one, true, other.markOf(ID{1}), a)
	f(one, false, other.markOf(ID{1}))
	f(one, false, strings.ToUpper(a))
	f(one, false, a[:31]+"x")
	f(one, false, strings.Repeat("0", 32))
	f(one, false)
	f(nil, false, a)
	f(one, true, slices.Repeat([]string{other.markOf(ID{1})}, maxMarks)...)
}

// TestMarkedRequests checks that every server except Anthropic's own gets a different mark.
func TestMarkedRequests(t *testing.T) {
	cfg := &config.Config{}
	for _, address := range []string{"http://127.0.0.1:1", "http://relay.example", "https://api.anthropic.com"} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Servers = append(cfg.Servers, config.Server{Name: u.Host, URL: u, Weight: 1})
	}
	p := NewPool(t.Context(), slog.New(slog.DiscardHandler))
	endpoints, _ := p.Reconcile(cfg)
	var seen []string
	for i, e := range endpoints {
		h := http.Header{LoopHeader: {"of a former attempt"}}
		e.Mark(h, nil)
		own := h.Get(LoopHeader)
		if anthropic := i == 2; (own == "") != anthropic || slices.Contains(seen, own) || !anthropic && !p.Loop.Closed(h) {
			t.Errorf("%s: %q", e.Name(), own)
		}
		seen = append(seen, own)
		e.Mark(h, []string{"x"})
		if own != "" && h.Get(LoopHeader) != "x, "+own {
			t.Errorf("%s: %q", e.Name(), h.Get(LoopHeader))
		}
	}
}

func FuzzMarks(f *testing.F) {
	l := NewLoop()
	f.Add(l.markOf(ID{}))
	f.Add(", ,,")
	f.Fuzz(func(t *testing.T, line string) {
		marks := Marks(http.Header{LoopHeader: {line}})
		if len(marks) > maxMarks {
			t.Errorf("%d marks", len(marks))
		}
		for _, m := range marks {
			if !isMark(m) || !strings.Contains(line, m) {
				t.Errorf("%q", m)
			}
		}
		l.Closed(http.Header{LoopHeader: {line}})
	})
}

package transport

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestLoopMarks(t *testing.T) {
	one, other := NewLoop(), NewLoop()
	a, b := one.MarkOf([]byte{1}), one.MarkOf([]byte{2})
	if a == b || a != one.MarkOf([]byte{1}) || !isMark(a) {
		t.Errorf("marks %q, %q", a, b)
	}
	f := func(l *Loop, want bool, lines ...string) {
		t.Helper()
		if got := l.HasLooped(http.Header{LoopHeader: lines}); got != want {
			t.Errorf("%q: %t", lines, got)
		}
	}
	f(one, true, a)
	f(one, true, b)
	f(one, true, "rubbish, "+other.MarkOf([]byte{1})+" ,"+a)
	f(one, true, other.MarkOf([]byte{1}), a)
	f(one, false, other.MarkOf([]byte{1}))
	f(one, false, strings.ToUpper(a))
	f(one, false, a[:31]+"x")
	f(one, false, strings.Repeat("0", 32))
	f(one, false)
	f(nil, false, a)
	f(one, true, slices.Repeat([]string{other.MarkOf([]byte{1})}, maxMarks)...)
}

func FuzzMarks(f *testing.F) {
	l := NewLoop()
	f.Add(l.MarkOf([]byte{0}))
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
		l.HasLooped(http.Header{LoopHeader: {line}})
	})
}

package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

func TestOutlineKeepsTheLastBoundaries(t *testing.T) {
	p := &claude.Prompt{Tools: claude.Boundary{Fingerprint: 1, Bytes: 100}, System: claude.Boundary{Fingerprint: 2, Bytes: 300}}
	for i := range 20 {
		p.Turns = append(p.Turns, claude.Boundary{Fingerprint: uint64(i) << 40, Bytes: 300 + 50*i})
	}
	tools, system, turns, ok := OutlineOf(p).Boundaries()
	if !ok || tools != p.Tools || system != p.System {
		t.Errorf("%+v %+v %t", tools, system, ok)
	}
	if diff := cmp.Diff(p.Turns[8:], turns); diff != "" {
		t.Error(diff)
	}
	if OutlineOf(nil) != nil {
		t.Error("no prompt has an outline")
	}
}

func FuzzOutline(f *testing.F) {
	f.Add([]byte(OutlineOf(&claude.Prompt{System: claude.Boundary{Fingerprint: 7, Bytes: 9}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		tools, system, turns, ok := Outline(b).Boundaries()
		if ok && (tools.Bytes < 0 || system.Bytes < tools.Bytes || len(turns) > len(b)) {
			t.Errorf("%+v %+v %+v", tools, system, turns)
		}
	})
}

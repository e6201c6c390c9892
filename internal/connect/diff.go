package connect

import (
	"bytes"
	"fmt"
	"strings"
)

// diffContext is the number of unchanged lines that a diff shows around a change.
const diffContext = 3

// Diff returns the unified diff between two versions of a file, without values that may be secrets.
// before is nil if the file does not exist, after is nil if it is removed.
func Diff(file string, before, after *Document) string {
	old, oldShown := linesOf(before)
	now, nowShown := linesOf(after)
	common := 0
	for common < min(len(old), len(now)) && old[common] == now[common] {
		common++
	}
	tail := 0
	for tail < min(len(old), len(now))-common && old[len(old)-1-tail] == now[len(now)-1-tail] {
		tail++
	}
	if common == len(old) && common == len(now) {
		return ""
	}
	var out strings.Builder
	name := func(d *Document) string {
		if d == nil {
			return "/dev/null"
		}
		return file
	}
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", name(before), name(after))
	edits := align(old[common:len(old)-tail], now[common:len(now)-tail])
	for _, e := range edits {
		e.old, e.now = e.old+common, e.now+common
	}
	for _, h := range hunks(edits, len(old), len(now)) {
		h.write(&out, oldShown, nowShown)
	}
	return out.String()
}

// linesOf returns the lines of a document, and the same lines as they may be shown.
func linesOf(d *Document) (lines, shown []string) {
	if d == nil {
		return nil, nil
	}
	split := func(text []byte) []string {
		var out []string
		for line := range bytes.Lines(text) {
			out = append(out, string(line))
		}
		return out
	}
	return split(d.Bytes()), split(d.Redacted())
}

// edit says that the lines [old, old+removed) become the lines [now, now+added).
type edit struct{ old, removed, now, added int }

// align finds the edits between two lists of lines, by their longest common subsequence.
func align(a, b []string) []*edit {
	const most = 4 << 20 // cells of the table: larger changes are shown as one
	if len(a)*len(b) > most {
		return []*edit{{0, len(a), 0, len(b)}}
	}
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var edits []*edit
	var open *edit
	for i, j := 0, 0; i < len(a) || j < len(b); {
		if i < len(a) && j < len(b) && a[i] == b[j] {
			i, j, open = i+1, j+1, nil
			continue
		}
		if open == nil {
			open = &edit{old: i, now: j}
			edits = append(edits, open)
		}
		if j == len(b) || i < len(a) && length[i+1][j] >= length[i][j+1] {
			i, open.removed = i+1, open.removed+1
		} else {
			j, open.added = j+1, open.added+1
		}
	}
	return edits
}

// hunk is a group of edits whose context overlaps.
type hunk struct {
	edits              []*edit
	oldStart, oldEnd   int
	newStart, newAfter int
}

func hunks(edits []*edit, oldLines, newLines int) []*hunk {
	var all []*hunk
	for _, e := range edits {
		if n := len(all); n > 0 && e.old-diffContext <= all[n-1].oldEnd {
			h := all[n-1]
			h.edits = append(h.edits, e)
			h.oldEnd, h.newAfter = min(e.old+e.removed+diffContext, oldLines), min(e.now+e.added+diffContext, newLines)
			continue
		}
		lead := min(diffContext, e.old)
		all = append(all, &hunk{
			[]*edit{e}, e.old - lead, min(e.old+e.removed+diffContext, oldLines),
			e.now - lead, min(e.now+e.added+diffContext, newLines),
		})
	}
	return all
}

func (h *hunk) write(out *strings.Builder, old, now []string) {
	place := func(start, end int) string {
		if start == end {
			return fmt.Sprintf("%d,0", start)
		}
		return fmt.Sprintf("%d,%d", start+1, end-start)
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", place(h.oldStart, h.oldEnd), place(h.newStart, h.newAfter))
	line := func(sign, text string) {
		out.WriteString(sign + strings.TrimRight(text, "\r\n") + "\n")
		if !strings.HasSuffix(text, "\n") {
			out.WriteString("\\ No newline at end of file\n")
		}
	}
	at := h.oldStart
	for _, e := range h.edits {
		for ; at < e.old; at++ {
			line(" ", old[at])
		}
		for ; at < e.old+e.removed; at++ {
			line("-", old[at])
		}
		for i := e.now; i < e.now+e.added; i++ {
			line("+", now[i])
		}
	}
	for ; at < h.oldEnd; at++ {
		line(" ", old[at])
	}
}

package statusline

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// The colours of segments, as ANSI codes.
const (
	plain  = ""
	yellow = "33"
	red    = "31"
)

const (
	mark      = "⇄ "
	separator = "  "
)

// Segments lists the segments in the order of the default format.
func Segments() []string { return []string{"server", "cost", "today", "budget", "ctx", "headroom"} }

// segment is a part of the line.
type segment struct{ text, colour string }

// segmentsOf describes a status. used is the part of the context window in percent, negative if
// unknown.
func segmentsOf(s *status, used float64, format []string, now time.Time) []segment {
	var list []segment
	for _, name := range format {
		part := segment{}
		switch name {
		case "server":
			part = serverSegment(s)
		case "cost":
			if s.Session != nil {
				part.text = s.Session.text()
			}
		case "today":
			part = todaySegment(s, now)
		case "budget":
			if s.Budget != nil && s.Budget.Window != "day" {
				part = s.Budget.segment(clean(s.Budget.Window), now)
			}
		case "ctx":
			if used >= 0 {
				part.text = fmt.Sprintf("ctx %.0f %%", used)
			}
		case "headroom":
			if s.Headroom != nil {
				part.text = fmt.Sprintf("left %.0f %%", 100**s.Headroom)
			}
		}
		if part.text != "" {
			list = append(list, part)
		}
	}
	return list
}

func serverSegment(s *status) segment {
	name := clean(s.Server)
	if name == "" {
		name = "claude-code-lb"
	}
	f := s.Failover
	if f == nil {
		return segment{name, plain}
	}
	why := clean(f.Scope)
	if f.Status > 0 {
		why = fmt.Sprint(f.Status)
	}
	return segment{name + " ←" + clean(f.From) + " " + why, yellow}
}

func (u *usage) text() string {
	text := fmt.Sprintf("$%.2f", u.Cost)
	if u.Incomplete {
		text += "+?"
	}
	if u.CacheRatio != nil {
		text += fmt.Sprintf(" (%.0f %% cached)", 100**u.CacheRatio)
	}
	return text
}

// todaySegment shows today's cost with the budget of the day, if there is one.
func todaySegment(s *status, now time.Time) segment {
	switch {
	case s.Budget != nil && s.Budget.Window == "day":
		return s.Budget.segment("today", now)
	case s.Today == nil:
		return segment{}
	}
	text := fmt.Sprintf("today $%.2f", s.Today.Cost)
	if s.Today.Incomplete {
		text += "+?"
	}
	return segment{text, plain}
}

func (b *budget) segment(name string, now time.Time) segment {
	part := segment{fmt.Sprintf("%s $%.2f/%s", name, b.Spent, strings.TrimSuffix(fmt.Sprintf("%.2f", b.Limit), ".00")), plain}
	switch {
	case b.Spent >= b.Limit:
		part.colour = red
		if b.Resets != nil {
			layout := "15:04"
			if b.Resets.Sub(now) >= 24*time.Hour {
				layout = "2 Jan"
			}
			part.text += " ↻" + b.Resets.Local().Format(layout)
		}
	case b.Spent >= 0.8*b.Limit:
		part.colour = yellow
	}
	return part
}

// join writes the segments that fit into a width; those on the right are dropped first. The first
// one is cut if it does not fit. A width of 0 means no limit.
func join(prefix string, list []segment, width int, colours bool) string {
	var out strings.Builder
	out.WriteString(prefix)
	used := cells(prefix)
	for i, s := range list {
		gap := ""
		if i > 0 {
			gap = separator
		}
		need := cells(gap) + cells(s.text)
		if width > 0 && used+need > width {
			if i > 0 {
				break
			}
			s.text = cut(s.text, width-used)
		}
		used += need
		out.WriteString(gap)
		if colours && s.colour != plain {
			out.WriteString("\x1b[" + s.colour + "m" + s.text + "\x1b[0m")
		} else {
			out.WriteString(s.text)
		}
	}
	return out.String()
}

// cut shortens text to a number of cells.
func cut(text string, width int) string {
	if cells(text) <= width {
		return text
	}
	var out strings.Builder
	left := width - 1
	for _, r := range text {
		if left -= cellsOf(r); left < 0 {
			break
		}
		out.WriteRune(r)
	}
	if width < 1 {
		return ""
	}
	return out.String() + "…"
}

// cells returns the width of text on a terminal, without its ANSI sequences.
func cells(text string) int {
	n := 0
	for _, r := range stripped(text) {
		n += cellsOf(r)
	}
	return n
}

// cellsOf returns the width of a character: two for those of East Asia and for emoji.
func cellsOf(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Cf, r):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// stripped removes ANSI sequences: CSI, such as colours, and OSC, such as links.
func stripped(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != 0x1b || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		i++
		switch text[i] {
		case '[':
			for i++; i < len(text) && (text[i] < 0x40 || text[i] > 0x7e); i++ {
			}
		case ']':
			for i++; i < len(text) && text[i] != 0x07 && text[i] != '\\'; i++ {
			}
		}
	}
	return out.String()
}

// clean removes control characters, so that a name cannot control the terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, text)
}

// Package statusline prints the status line of Claude Code: what Claude Code cannot know behind a
// balancer. It always prints exactly one line, because Claude Code removes the line after an error
// or without output.
package statusline

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxInput bounds the JSON of Claude Code.
	maxInput = 1 << 20
	// inputTime is how long the input may take. Claude Code writes it at once.
	inputTime = time.Second
)

// Options are the options of a status line.
type Options struct {
	In      io.Reader // nil: no input
	Env     func(string) (string, bool)
	Cache   string // the user's cache directory; "" for none
	Format  []string
	NoColor bool
	Then    string // a command whose line comes first
}

// input is what Claude Code reports about the session. Unknown members are ignored.
type input struct {
	Session string `json:"session_id"`
	Context struct {
		Used *float64 `json:"used_percentage"`
	} `json:"context_window"`
}

// ParseFormat returns the segments of a format: names, separated by commas.
func ParseFormat(text string) ([]string, error) {
	if text == "" {
		return Segments(), nil
	}
	var list []string
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(Segments(), name) {
			return nil, errors.New("-format " + clean(name) + ": want some of " + strings.Join(Segments(), ","))
		}
		list = append(list, name)
	}
	return list, nil
}

// Line returns the status line, without a newline. It never fails: a problem is what the line says.
func Line(ctx context.Context, o Options, now time.Time) string {
	raw := readInput(o.In)
	former := make(chan string, 1)
	go func() { former <- o.runFormer(ctx, raw) }()
	parts := o.describe(ctx, raw, now)
	first := <-former

	width := 0
	if columns, _ := o.Env("COLUMNS"); columns != "" {
		width, _ = strconv.Atoi(columns)
	}
	noColor, _ := o.Env("NO_COLOR")
	prefix := mark
	if first != "" {
		prefix = first + separator + mark
		if width > 0 && cells(prefix) >= width {
			return first // the user's own line comes first
		}
	}
	return join(prefix, parts, max(width, 0), !o.NoColor && noColor == "")
}

// describe asks the balancer, and falls back to the latest known status.
func (o *Options) describe(ctx context.Context, raw []byte, now time.Time) []segment {
	var in input
	_ = json.Unmarshal(raw, &in) // without a session the line is shorter
	used := -1.0
	if in.Context.Used != nil {
		used = *in.Context.Used
	}
	at, err := base(o.Env)
	if err != nil {
		return []segment{{err.Error(), yellow}}
	}
	file := cacheFile(o.Cache, at.String(), in.Session)
	body, err := ask(ctx, o.Env, at, in.Session)
	var age time.Duration
	if err == nil {
		save(file, body, now)
	} else {
		why := trouble{text: err.Error()}
		if t, ok := errors.AsType[*trouble](err); ok {
			why = *t
		}
		known := false
		if why.keep {
			body, age, known = load(file, now)
		}
		if !known {
			return []segment{{clean(why.text), red}}
		}
	}
	var s status
	if json.Unmarshal(body, &s) != nil {
		return []segment{{"no status", red}}
	}
	if s.Failover != nil && s.Failover.Age+age.Seconds() >= staleAge.Seconds() {
		s.Failover = nil
	}
	parts := segmentsOf(&s, used, o.Format, now)
	if age > staleAge && len(parts) > 0 {
		parts[0].text = "~" + parts[0].text
	}
	return parts
}

// readInput reads the input. A pipe that stays open does not block the line.
func readInput(in io.Reader) []byte {
	if in == nil {
		return nil
	}
	read := make(chan []byte, 1)
	go func() {
		body, _ := io.ReadAll(io.LimitReader(in, maxInput)) // a part is better than nothing
		read <- body
	}()
	select {
	case body := <-read:
		return body
	case <-time.After(inputTime):
		return nil
	}
}

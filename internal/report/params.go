package report

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

// Params is a question in the words of a user: the flags of a command, or the parameters of a
// request.
type Params struct {
	By                   string // dimensions, separated by commas; "" or "total" for none
	Since, Until         string // see ParseTime; an empty Until means now
	Zone                 string // of days and hours; "" means UTC
	Key, Model, Upstream string // filters; "" matches all
}

// Question returns the question, or an error that begins with the name of the parameter.
func (p Params) Question(now time.Time) (store.Question, error) {
	var q store.Question
	var err error
	if q.Zone, err = config.Zone(p.Zone); err != nil {
		hint := "want a zone such as UTC, Local or Europe/Berlin"
		if best := config.NearestZone(p.Zone); best != "" {
			hint = "did you mean " + best + "?"
		}
		return q, fmt.Errorf("zone %s: %s", p.Zone, hint)
	}
	if q.Since, err = ParseTime(cmp.Or(p.Since, "30d"), now, q.Zone); err != nil {
		return q, fmt.Errorf("since %w", err)
	}
	q.Until = now.Add(time.Second)
	if p.Until != "" {
		if q.Until, err = ParseTime(p.Until, now, q.Zone); err != nil {
			return q, fmt.Errorf("until %w", err)
		}
	}
	if !q.Since.Before(q.Until) {
		return q, errors.New("since must be before the end")
	}
	if q.By, err = parseDimensions(p.By); err != nil {
		return q, err
	}
	q.Only = map[store.Dimension]string{}
	for d, value := range map[store.Dimension]string{store.Key: p.Key, store.Model: p.Model, store.Upstream: p.Upstream} {
		if value != "" {
			q.Only[d] = value
		}
	}
	return q, nil
}

func parseDimensions(list string) ([]store.Dimension, error) {
	if list == "total" || list == "" {
		return nil, nil
	}
	var by []store.Dimension
	for name := range strings.SplitSeq(list, ",") {
		d := store.Dimension(strings.TrimSpace(name))
		if !slices.Contains(store.Dimensions(), d) {
			return nil, fmt.Errorf("by %s: want some of day, hour, key, model, upstream and session, or total", name)
		}
		if !slices.Contains(by, d) {
			by = append(by, d)
		}
	}
	return by, nil
}

// ParseTime parses a point in time, or an age before now, such as 24h or 7d.
func ParseTime(s string, now time.Time, zone *time.Location) (time.Time, error) {
	for _, layout := range [...]string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n < 1e6 {
			return now.Add(-time.Duration(n * 24 * float64(time.Hour))), nil
		}
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	y, m, d := now.In(zone).Date()
	switch strings.ToLower(s) {
	case "now":
		return now, nil
	case "today":
		return time.Date(y, m, d, 0, 0, 0, 0, zone), nil
	case "yesterday":
		return time.Date(y, m, d-1, 0, 0, 0, 0, zone), nil
	}
	return time.Time{}, fmt.Errorf("%s: want a time such as today, yesterday, 2026-05-01, 2026-05-01T12:00, 24h or 7d", s)
}

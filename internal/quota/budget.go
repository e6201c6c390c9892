package quota

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// window is a stretch of the calendar for which a budget holds.
type window uint8

const (
	daily window = iota
	weekly
	monthly
	forever
	windows = 4
)

var windowNames = [windows]string{"day", "week", "month", "total"}

// String names the window as the configuration does.
func (w window) String() string { return windowNames[w] }

// limit is what a key may spend in the window, 0 for no limit.
func (w window) limit(b config.Budget) ledger.Money {
	return ledger.USD([windows]float64{b.Day, b.Week, b.Month, b.Total}[w])
}

// begin is the start of the window that now is in, zero for the whole of time.
func (w window) begin(now time.Time, zone *time.Location) time.Time {
	y, m, d := now.In(zone).Date()
	switch w {
	case daily:
		return time.Date(y, m, d, 0, 0, 0, 0, zone)
	case weekly:
		since := (int(now.In(zone).Weekday()) + 6) % 7 // days since Monday
		return time.Date(y, m, d-since, 0, 0, 0, 0, zone)
	case monthly:
		return time.Date(y, m, 1, 0, 0, 0, 0, zone)
	default:
		return time.Time{}
	}
}

// end is when the window that began at begin is over, zero for never.
func (w window) end(begin time.Time) time.Time {
	switch w {
	case daily:
		return begin.AddDate(0, 0, 1)
	case weekly:
		return begin.AddDate(0, 0, 7)
	case monthly:
		return begin.AddDate(0, 1, 0)
	default:
		return time.Time{}
	}
}

// budgetPeriod is what a key has spent in one window.
type budgetPeriod struct {
	begin     time.Time
	spent     ledger.Money
	restored  bool // what was spent before the key was known here is part of spent
	announced int  // percent of the limit up to which it was logged
}

// roll turns to a new window when the old one is over.
func (p *budgetPeriod) roll(w window, now time.Time, zone *time.Location) {
	if begin := w.begin(now, zone); !begin.Equal(p.begin) {
		// What began before this process is not in a window that begins now.
		*p = budgetPeriod{begin: begin, restored: !p.begin.IsZero()}
	}
}

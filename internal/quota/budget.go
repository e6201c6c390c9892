package quota

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// window is a calendar period with a budget.
type window uint8

const (
	daily window = iota
	weekly
	monthly
	forever
	windows = 4
)

var windowNames = [windows]string{"day", "week", "month", "total"}

// String returns the window's name in the configuration.
func (w window) String() string { return windowNames[w] }

// limit returns the most that a key may spend in the window, 0 for no limit.
func (w window) limit(b config.Budget) ledger.Money {
	return ledger.USD([windows]float64{b.Day, b.Week, b.Month, b.Total}[w])
}

// begin returns the start of the window that contains now, zero for the window without end.
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

// end returns the end of the window that began at begin, zero for never.
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
	restored  bool // spent includes the time before this process
	announced int  // percent of the limit that the log has announced
}

// roll begins a new window if the old one is over.
func (p *budgetPeriod) roll(w window, now time.Time, zone *time.Location) {
	if begin := w.begin(now, zone); !begin.Equal(p.begin) {
		// Spending before this process is not in a window that begins now.
		*p = budgetPeriod{begin: begin, restored: !p.begin.IsZero()}
	}
}

package upstream

import "time"

// balance is what the last successful reading said. It is a state of its own:
// no cooldown ends it, only a reading above the threshold does.
type balance struct {
	low   bool
	value float64 // of the last reading
	known bool
}

// SetBalance stores a reading and reports whether it changed anything. An
// account that was out for want of money is tried again when its balance has risen.
func (l *endpointState) SetBalance(value float64, low bool, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed, risen := l.balance.low != low, l.balance.known && value > l.balance.value
	l.balance = balance{low: low, value: value, known: true}
	if risen {
		l.account.Load().recover(now)
	}
	return changed
}

func (l *endpointState) ForgetBalance() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.balance = balance{}
}

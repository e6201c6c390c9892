package upstream

import "time"

// balance is the result of the last successful reading. Only a reading above the threshold ends a
// low balance; there is no cooldown.
type balance struct {
	low   bool
	value float64 // result of the last reading
	known bool
}

// SetBalance stores a reading and reports whether low has changed. When the balance has risen, an
// account without credit is tried again.
func (st *endpointState) SetBalance(value float64, low bool, now time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	changed, risen := st.balance.low != low, st.balance.known && value > st.balance.value
	st.balance = balance{low: low, value: value, known: true}
	if risen {
		st.account.Load().endCooldown(now)
	}
	return changed
}

func (st *endpointState) ForgetBalance() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.balance = balance{}
}

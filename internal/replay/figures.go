package replay

import (
	"math"
	"slices"
	"time"
)

// Result is the result of one policy.
type Result struct {
	Policy   string `json:"policy"`
	Accounts int    `json:"accounts"`
	// CostRatio is the cost relative to one unlimited account. See Cost.
	CostRatio    float64 `json:"cost_ratio"`
	HitRate      float64 `json:"hit_rate"`          // part of the input tokens that was read from the cache
	Imbalance15m float64 `json:"imbalance_15m_p95"` // 95th percentile over quarters of an hour: tokens of the most loaded account, relative to the mean
	ImbalanceRun float64 `json:"imbalance_run"`     // the same over the whole run
	Client429    int     `json:"client_429"`        // responses that reached clients
	Upstream429  int     `json:"upstream_429"`
	TTFTMean     float64 `json:"ttft_mean_ms"`  // from a client's request to the first token, waits included
	Waited       int     `json:"waited"`        // requests that waited for an account
	Moved        int     `json:"moved"`         // conversations that left an account with a cached part
	MovedAgain   int     `json:"moved_again"`   // conversations that did so more than once
	Failed       int     `json:"client_failed"` // errors other than 429 that reached clients
	Requests     int     `json:"requests"`

	// Cost is in units of an input token: 1.25 per uncached token, 0.1 per cached token, 5 per
	// output token.
	Cost float64 `json:"cost"`
}

// quarter is the window of Imbalance15m.
const quarter = 15 * time.Minute

// figures collects the numbers for a Result during a replay.
type figures struct {
	cost, input, read float64
	ttft              time.Duration
	responses         int

	waited, refused, clientRefused, clientFailed int

	tokens   []float64   // by account
	windows  [][]float64 // by quarter and account
	quarters int         // quarters of the trace: those after it, with the last responses, do not count
	last     []int       // last account of a thread, -1 for none
	moves    []int       // by thread
}

func (f *figures) prepare(accounts int, t *Trace) {
	f.tokens = make([]float64, accounts)
	f.last = slices.Repeat([]int{-1}, t.threads)
	f.moves = make([]int, t.threads)
	f.quarters = int(t.span/quarter) + 1
}

// recordPlacement counts a request that an account has admitted.
func (f *figures) recordPlacement(t *Trace, i, index int, accounts []*account, path []*node, at time.Duration) {
	r := &t.requests[i]
	tokens := float64(r.input + r.output)
	f.tokens[index] += tokens
	w := int(at / quarter)
	for len(f.windows) <= w {
		f.windows = append(f.windows, make([]float64, len(accounts)))
	}
	f.windows[w][index] += tokens
	if r.thread < 0 {
		return
	}
	if before := f.last[r.thread]; before >= 0 && before != index && hasCached(accounts[before], r, path, at) {
		f.moves[r.thread]++
	}
	f.last[r.thread] = index
}

// hasCached reports whether an account has a good part of the conversation, without shared
// prefixes, in its cache.
func hasCached(a *account, r *request, path []*node, at time.Duration) bool {
	shared := int64(0)
	if r.system != nil {
		shared = r.system.tokens
	}
	return float64(a.lookup(path, at)-shared) >= 0.25*float64(r.input-shared)
}

// recordResponse counts a response that has begun.
func (f *figures) recordResponse(r *request, read int64, ttft time.Duration) {
	f.cost += 1.25*float64(r.input-read) + 0.1*float64(read) + 5*float64(r.output)
	f.input += float64(r.input)
	f.read += float64(read)
	f.ttft += ttft
	f.responses++
}

func (f *figures) result(o Options) Result {
	r := Result{
		Policy: o.Policy, Accounts: o.Accounts, Cost: f.cost, Requests: f.responses,
		Client429: f.clientRefused, Upstream429: f.refused, Failed: f.clientFailed, Waited: f.waited,
		ImbalanceRun: imbalance(f.tokens),
	}
	if f.input > 0 {
		r.HitRate = f.read / f.input
	}
	if f.responses > 0 {
		r.TTFTMean = float64(f.ttft.Milliseconds()) / float64(f.responses)
	}
	var quarters []float64
	for _, w := range f.windows[:min(len(f.windows), f.quarters)] {
		if x := imbalance(w); x > 0 {
			quarters = append(quarters, x)
		}
	}
	if slices.Sort(quarters); len(quarters) > 0 {
		r.Imbalance15m = quarters[int(math.Ceil(0.95*float64(len(quarters))))-1]
	}
	for _, n := range f.moves {
		if n > 0 {
			r.Moved++
		}
		if n > 1 {
			r.MovedAgain++
		}
	}
	return r
}

// imbalance returns the largest value relative to the mean, 0 if all are 0.
func imbalance(values []float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	if total == 0 {
		return 0
	}
	return slices.Max(values) * float64(len(values)) / total
}

package replay

import (
	"context"
	"fmt"
)

// Report compares policies on one trace.
type Report struct {
	Requests    int      `json:"requests"`
	SpanSeconds float64  `json:"span_seconds"`
	Single      Result   `json:"single"` // one account without limits: the ideal
	Policies    []Result `json:"policies"`
}

// Compare replays a trace with one unlimited account, and then with each of the options.
func Compare(ctx context.Context, trace *Trace, all []Options) (Report, error) {
	r := Report{Requests: trace.Requests(), SpanSeconds: trace.Span().Seconds(), Policies: []Result{}}
	var err error
	if r.Single, err = Run(ctx, trace, Options{Policy: "round_robin", Accounts: 1}); err != nil {
		return Report{}, err
	}
	r.Single.CostRatio = 1
	for _, o := range all {
		one, err := Run(ctx, trace, o)
		if err != nil {
			return Report{}, fmt.Errorf("%s, %d accounts: %w", o.Policy, o.Accounts, err)
		}
		if r.Single.Cost > 0 {
			one.CostRatio = one.Cost / r.Single.Cost
		}
		r.Policies = append(r.Policies, one)
	}
	return r, nil
}

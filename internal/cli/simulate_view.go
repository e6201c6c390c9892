package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/replay"
)

func simulationJSON(w io.Writer, r replay.Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func simulationCSV(w io.Writer, r replay.Report) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{"policy", "accounts", "cost_ratio", "hit_rate", "imbalance_15m_p95", "imbalance_run", "client_429", "upstream_429",
		"ttft_mean_ms", "waited", "moved", "moved_again", "client_failed", "requests", "cost"})
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	for _, p := range r.Policies {
		_ = out.Write([]string{p.Policy, strconv.Itoa(p.Accounts), number(p.CostRatio), number(p.HitRate), number(p.Imbalance15m), number(p.ImbalanceRun),
			strconv.Itoa(p.Client429), strconv.Itoa(p.Upstream429), number(p.TTFTMean), strconv.Itoa(p.Waited), strconv.Itoa(p.Moved), strconv.Itoa(p.MovedAgain),
			strconv.Itoa(p.Failed), strconv.Itoa(p.Requests), number(p.Cost)})
	}
	out.Flush()
	return out.Error()
}

func printSimulation(w io.Writer, r replay.Report) error {
	fmt.Fprintf(w, "%d requests in %s. One unlimited account: %.1f %% of the input tokens from the cache, first token after %s on average.\n\n",
		r.Requests, time.Duration(r.SpanSeconds*float64(time.Second)).Round(time.Minute), 100*r.Single.HitRate, meanTTFT(r.Single))
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "policy\taccounts\tcost\tcached\timbalance 15 min\twhole run\tclient 429\tupstream 429\tfirst token\twaited\tmoved\t")
	for _, p := range r.Policies {
		fmt.Fprintf(out, "%s\t%d\t%.4f\t%.2f %%\t%.2f\t%.2f\t%d\t%d\t%s\t%d\t%d\t\n", p.Policy, p.Accounts, p.CostRatio, 100*p.HitRate,
			p.Imbalance15m, p.ImbalanceRun, p.Client429, p.Upstream429, meanTTFT(p), p.Waited, p.Moved)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, `
cost      relative to one unlimited account; an uncached input token costs 1.25, a cached one 0.1, an output token 5
imbalance the busiest account's tokens relative to the mean: 95th percentile of 15-minute periods, and over the whole run
waited    requests that waited for an account; moved: conversations sent away from an account that had them cached
`)
	return err
}

func meanTTFT(r replay.Result) time.Duration {
	return time.Duration(r.TTFTMean * float64(time.Millisecond)).Round(10 * time.Millisecond)
}

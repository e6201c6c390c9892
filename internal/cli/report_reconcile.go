package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/9bingyin/claude-code-lb/internal/report"
	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

// reconciled is a line of a reconciliation in JSON.
type reconciled struct {
	Server   string      `json:"server"`
	Readings int         `json:"readings"`
	From     string      `json:"from"`
	To       string      `json:"to"`
	Lost     float64     `json:"balance_lost"`
	Raised   float64     `json:"balance_raised"`
	Spent    json.Number `json:"ledger_usd"`
	Drift    float64     `json:"drift"`
	Differs  bool        `json:"differs"`
	Unpriced int64       `json:"unpriced_attempts"`
}

// writeReconciliation writes one line per server. The status is 1 if a balance and the ledger
// differ.
func writeReconciliation(w io.Writer, format string, list []store.Reconciliation) (status int, err error) {
	status = service.ExitOK
	lines := []reconciled{}
	for i := range list {
		r := &list[i]
		lines = append(lines, reconciled{
			r.Server, r.Readings, r.From.Format("2006-01-02T15:04:05Z07:00"), r.To.Format("2006-01-02T15:04:05Z07:00"),
			r.Lost, r.Raised, json.Number(r.Spent.Exact()), r.Drift(), r.Drifts(), r.Unpriced,
		})
		if r.Drifts() {
			status = service.ExitError
		}
	}
	switch format {
	case "json":
		return status, json.NewEncoder(w).Encode(map[string]any{"rows": lines})
	case "ndjson":
		for _, l := range lines {
			if err := json.NewEncoder(w).Encode(l); err != nil {
				return status, err
			}
		}
		return status, nil
	case "csv":
		return status, reconciliationCSV(w, lines)
	default:
		return status, reconciliationTable(w, lines)
	}
}

func reconciliationCSV(w io.Writer, lines []reconciled) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{"server", "readings", "from", "to", "balance_lost", "balance_raised", "ledger_usd",
		"drift", "differs", "unpriced_attempts"}) // out.Error returns the error
	for _, l := range lines {
		_ = out.Write([]string{
			report.NoFormula(l.Server), strconv.Itoa(l.Readings), l.From, l.To, number(l.Lost), number(l.Raised), l.Spent.String(),
			number(l.Drift), strconv.FormatBool(l.Differs), strconv.FormatInt(l.Unpriced, 10),
		})
	}
	out.Flush()
	return out.Error()
}

func reconciliationTable(w io.Writer, lines []reconciled) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(w, "no server has two balance readings in that time: set balance_check")
		return err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	p := printer{to: out}
	p.printf("server\treadings\tbalance lost\tledger $\tdrift\ttopped up\t\t\n")
	for _, l := range lines {
		result := "ok"
		if l.Differs {
			result = "DIFFERS"
		}
		p.printf("%s\t%d\t%.4f\t%s\t%+.1f %%\t%.2f\t%s\t\n",
			report.Printable(l.Server), l.Readings, l.Lost, l.Spent, 100*l.Drift, l.Raised, result)
	}
	if p.err != nil {
		return p.err
	}
	return out.Flush()
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

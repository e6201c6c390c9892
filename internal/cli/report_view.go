package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

// figure is a column of a report.
type figure struct {
	name  string // in JSON and CSV
	title string // in the table, "" where it has no place
	exact func(*ledger.Sums) string
	shown func(*ledger.Sums) string // in the table; nil: exact
}

func figures() []figure {
	count := func(of func(*ledger.Sums) int64) func(*ledger.Sums) string {
		return func(s *ledger.Sums) string { return strconv.FormatInt(of(s), 10) }
	}
	dollars := func(of func(*ledger.Sums) ledger.Money) (exact, shown func(*ledger.Sums) string) {
		return func(s *ledger.Sums) string { return of(s).Exact() }, func(s *ledger.Sums) string { return fmt.Sprintf("%.4f", of(s).Dollars()) }
	}
	cost, costShown := dollars(func(s *ledger.Sums) ledger.Money { return s.Cost })
	saved, savedShown := dollars(func(s *ledger.Sums) ledger.Money { return s.Saved })
	wasted, wastedShown := dollars(func(s *ledger.Sums) ledger.Money { return s.Wasted })
	return []figure{
		{"requests", "requests", count(func(s *ledger.Sums) int64 { return s.Requests }), nil},
		{"errors", "errors", count(func(s *ledger.Sums) int64 { return s.Errors }), nil},
		{"refused", "", count(func(s *ledger.Sums) int64 { return s.Refused }), nil},
		{"attempts", "attempts", count(func(s *ledger.Sums) int64 { return s.Attempts }), nil},
		{"failed_attempts", "", count(func(s *ledger.Sums) int64 { return s.Failures }), nil},
		{"input_tokens", "input", count(func(s *ledger.Sums) int64 { return s.Input }), nil},
		{"output_tokens", "output", count(func(s *ledger.Sums) int64 { return s.Output }), nil},
		{"cache_read_tokens", "cache read", count(func(s *ledger.Sums) int64 { return s.CacheRead }), nil},
		{"cache_creation_tokens", "cache written", count(func(s *ledger.Sums) int64 { return s.CacheWrite5m + s.CacheWrite1h }), nil},
		{"cache_creation_5m_tokens", "", count(func(s *ledger.Sums) int64 { return s.CacheWrite5m }), nil},
		{"cache_creation_1h_tokens", "", count(func(s *ledger.Sums) int64 { return s.CacheWrite1h }), nil},
		{"web_searches", "", count(func(s *ledger.Sums) int64 { return s.Searches }), nil},
		{"cache_hit_rate", "hit rate", func(s *ledger.Sums) string { return strconv.FormatFloat(s.HitRate(), 'f', 4, 64) },
			func(s *ledger.Sums) string { return fmt.Sprintf("%.1f %%", 100*s.HitRate()) }},
		{"mean_ttft_ms", "ttft", func(s *ledger.Sums) string { return strconv.FormatInt(s.MeanFirstByte().Milliseconds(), 10) },
			func(s *ledger.Sums) string { return s.MeanFirstByte().Round(time.Millisecond).String() }},
		{"cost_usd", "cost $", cost, func(s *ledger.Sums) string { return costShown(s) + unpriced(s) }},
		{"saved_usd", "saved $", saved, savedShown},
		{"wasted_usd", "wasted $", wasted, wastedShown},
		{"unpriced_attempts", "", count(func(s *ledger.Sums) int64 { return s.Unpriced }), nil},
		{"estimated_attempts", "", count(func(s *ledger.Sums) int64 { return s.Estimated }), nil},
		{"other_model", "", count(func(s *ledger.Sums) int64 { return s.Swapped }), nil},
		{"warm", "", count(func(s *ledger.Sums) int64 { return s.Warm }), nil},
		{"cold", "", count(func(s *ledger.Sums) int64 { return s.Cold }), nil},
		{"estimable", "", count(func(s *ledger.Sums) int64 { return s.Guessed }), nil},
		{"far_from_estimate", "", count(func(s *ledger.Sums) int64 { return s.Inflated }), nil},
	}
}

// unpriced marks a cost that lacks something.
func unpriced(s *ledger.Sums) string {
	if s.Unpriced > 0 {
		return "+?"
	}
	return ""
}

// writeReport writes the lines and, but for CSV and NDJSON, their total and whose days were meant.
func writeReport(w io.Writer, format string, q store.Question, lines []store.Line) error {
	var total ledger.Sums
	by := q.By
	for i := range lines {
		total.Add(lines[i].Sums)
	}
	switch format {
	case "json":
		return reportJSON(w, q, lines, &total)
	case "ndjson":
		for i := range lines {
			if err := writeLine(w, jsonOf(by, &lines[i])); err != nil {
				return err
			}
		}
		return nil
	case "csv":
		return reportCSV(w, by, lines)
	default:
		if err := reportTable(w, by, lines, &total); err != nil || len(lines) == 0 {
			return err
		}
		_, err := fmt.Fprintf(w, "days and hours of %s\n", q.Zone)
		return err
	}
}

// jsonOf is a line as a JSON object; its figures are numbers exactly as they are in the ledger.
func jsonOf(by []store.Dimension, line *store.Line) []byte {
	out := []byte{'{'}
	member := func(name string, value []byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = strconv.AppendQuote(out, name)
		out = append(append(out, ':'), value...)
	}
	for i, d := range by {
		value, _ := json.Marshal(line.At[i]) // a string always can be
		member(string(d), value)
	}
	for _, f := range figures() {
		member(f.name, []byte(f.exact(&line.Sums)))
	}
	return append(out, '}')
}

func writeLine(w io.Writer, b []byte) error {
	_, err := w.Write(append(b, '\n'))
	return err
}

func reportJSON(w io.Writer, q store.Question, lines []store.Line, total *ledger.Sums) error {
	p := printer{to: w}
	p.printf("{\"rows\":[")
	for i := range lines {
		if i > 0 {
			p.printf(",")
		}
		p.printf("\n%s", jsonOf(q.By, &lines[i]))
	}
	p.printf("],\n\"total\":%s,\"time_zone\":%q}\n", jsonOf(nil, &store.Line{Sums: *total}), q.Zone)
	return p.err
}

func reportCSV(w io.Writer, by []store.Dimension, lines []store.Line) error {
	out := csv.NewWriter(w)
	var head []string
	for _, d := range by {
		head = append(head, string(d))
	}
	columns := figures()
	for _, f := range columns {
		head = append(head, f.name)
	}
	_ = out.Write(head) // Error tells
	for i := range lines {
		var record []string
		for _, value := range lines[i].At {
			record = append(record, noFormula(value))
		}
		for _, f := range columns {
			record = append(record, f.exact(&lines[i].Sums))
		}
		_ = out.Write(record)
	}
	out.Flush()
	return out.Error()
}

// noFormula keeps a spreadsheet from taking what a client has written for a formula, and a terminal for a command.
func noFormula(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if strings.ContainsAny(s[:min(len(s), 1)], "=+-@\t\r") {
		return "'" + s
	}
	return s
}

func reportTable(w io.Writer, by []store.Dimension, lines []store.Line, total *ledger.Sums) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(w, "no requests in that time")
		return err
	}
	columns := slices.DeleteFunc(figures(), func(f figure) bool { return f.title == "" })
	if slices.Contains(by, store.Upstream) {
		columns = append(columns, honesty()...)
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	p := printer{to: out}
	head := make([]string, len(by))
	for i, d := range by {
		head[i] = string(d)
	}
	row := func(at []string, value func(figure) string) {
		for _, s := range at {
			p.printf("%s\t", printable(s))
		}
		for _, f := range columns {
			p.printf("%s\t", value(f))
		}
		p.printf("\n")
	}
	row(head, func(f figure) string { return f.title })
	for i := range lines {
		row(lines[i].At, func(f figure) string { return f.show(&lines[i].Sums) })
	}
	if len(by) > 0 {
		at := make([]string, len(by))
		at[0] = "total"
		row(at, func(f figure) string { return f.show(total) })
	}
	if total.Unpriced > 0 {
		p.printf("+? the price of a model, speed, tier, region or tool is not known (the log names it): write it into \"prices\"\n")
	}
	if p.err != nil {
		return p.err
	}
	return out.Flush()
}

func (f figure) show(s *ledger.Sums) string {
	if f.shown != nil {
		return f.shown(s)
	}
	return f.exact(s)
}

// honesty are the figures that tell whether an upstream gives what is paid for.
func honesty() []figure {
	share := func(part, whole int64) string {
		if whole == 0 {
			return "-"
		}
		return fmt.Sprintf("%d/%d", part, whole)
	}
	return []figure{
		{title: "other model", exact: func(s *ledger.Sums) string { return share(s.Swapped, s.Attempts-s.Failures) }},
		{title: "warm but cold", exact: func(s *ledger.Sums) string { return share(s.Cold, s.Warm) }},
		{title: "odd count", exact: func(s *ledger.Sums) string { return share(s.Inflated, s.Guessed) }},
	}
}

// printable shows what a client has written without what a terminal would act upon, and no longer than a table bears.
func printable(s string) string {
	const longest = 60
	if s == "" {
		return "-"
	}
	if runes := []rune(s); len(runes) > longest {
		s = string(runes[:longest]) + "…"
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// writeReconciliation writes one line per server. The status is 1 when a balance and the ledger differ.
func writeReconciliation(w io.Writer, format string, list []store.Reconciliation) (status int, err error) {
	status = service.ExitOK
	type line struct {
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
	lines := []line{}
	for i := range list {
		r := &list[i]
		lines = append(lines, line{
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
		out := csv.NewWriter(w)
		_ = out.Write([]string{"server", "readings", "from", "to", "balance_lost", "balance_raised", "ledger_usd", "drift", "differs", "unpriced_attempts"})
		for _, l := range lines {
			_ = out.Write([]string{noFormula(l.Server), strconv.Itoa(l.Readings), l.From, l.To, number(l.Lost), number(l.Raised), l.Spent.String(), number(l.Drift),
				strconv.FormatBool(l.Differs), strconv.FormatInt(l.Unpriced, 10)})
		}
		out.Flush()
		return status, out.Error()
	}
	if len(lines) == 0 {
		_, err := fmt.Fprintln(w, "no server has two balance readings in that time: set balance_check")
		return status, err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	p := printer{to: out}
	p.printf("server\treadings\tbalance lost\tledger $\tdrift\ttopped up\t\t\n")
	for _, l := range lines {
		verdict := "ok"
		if l.Differs {
			verdict = "DIFFERS"
		}
		p.printf("%s\t%d\t%.4f\t%s\t%+.1f %%\t%.2f\t%s\t\n", printable(l.Server), l.Readings, l.Lost, l.Spent, 100*l.Drift, l.Raised, verdict)
	}
	if p.err != nil {
		return status, p.err
	}
	return status, out.Flush()
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

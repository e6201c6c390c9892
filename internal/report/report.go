// Package report turns sums of the ledger into tables, JSON, NDJSON and CSV, and parses the questions
// about them. The command report and the admin API share it.
package report

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
	"github.com/9bingyin/claude-code-lb/internal/store"
)

// figure is a column of a report.
type figure struct {
	name  string                    // in JSON and CSV
	title string                    // in the table; "" if the table does not have it
	exact func(*ledger.Sums) string // for JSON and CSV
	shown func(*ledger.Sums) string // for the table; nil: exact
}

func figures() []figure {
	count := func(of func(*ledger.Sums) int64) func(*ledger.Sums) string {
		return func(s *ledger.Sums) string { return strconv.FormatInt(of(s), 10) }
	}
	dollars := func(of func(*ledger.Sums) ledger.Money) (exact, shown func(*ledger.Sums) string) {
		return func(s *ledger.Sums) string { return of(s).Exact() },
			func(s *ledger.Sums) string { return fmt.Sprintf("%.4f", of(s).Dollars()) }
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
		{"other_model", "", count(func(s *ledger.Sums) int64 { return s.OtherModel }), nil},
		{"warm", "", count(func(s *ledger.Sums) int64 { return s.Warm }), nil},
		{"cold", "", count(func(s *ledger.Sums) int64 { return s.Cold }), nil},
		{"estimable", "", count(func(s *ledger.Sums) int64 { return s.Estimable }), nil},
		{"far_from_estimate", "", count(func(s *ledger.Sums) int64 { return s.FarFromEstimate }), nil},
	}
}

// unpriced marks a cost that lacks an unknown price.
func unpriced(s *ledger.Sums) string {
	if s.Unpriced > 0 {
		return "+?"
	}
	return ""
}

// Write writes the lines in a format: table, json, ndjson or csv. Tables and JSON also have their
// total and the time zone of days.
func Write(w io.Writer, format string, q store.Question, lines []store.Line) error {
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

// jsonOf returns a line as a JSON object. Its figures are as exact as those of the ledger.
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
		value, _ := json.Marshal(line.At[i]) // a string always can be encoded
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
	var header []string
	for _, d := range by {
		header = append(header, string(d))
	}
	columns := figures()
	for _, f := range columns {
		header = append(header, f.name)
	}
	_ = out.Write(header) // out.Error returns the error
	for i := range lines {
		var record []string
		for _, value := range lines[i].At {
			record = append(record, NoFormula(value))
		}
		for _, f := range columns {
			record = append(record, f.exact(&lines[i].Sums))
		}
		_ = out.Write(record)
	}
	out.Flush()
	return out.Error()
}

// NoFormula changes text of a client so that spreadsheets do not take it for a formula, nor
// terminals for a control sequence.
func NoFormula(s string) string {
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
		columns = append(columns, auditColumns()...)
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	p := printer{to: out}
	header := make([]string, len(by))
	for i, d := range by {
		header[i] = string(d)
	}
	row := func(at []string, value func(figure) string) {
		for _, s := range at {
			p.printf("%s\t", Printable(s))
		}
		for _, f := range columns {
			p.printf("%s\t", value(f))
		}
		p.printf("\n")
	}
	row(header, func(f figure) string { return f.title })
	for i := range lines {
		row(lines[i].At, func(f figure) string { return f.show(&lines[i].Sums) })
	}
	if len(by) > 0 {
		at := make([]string, len(by))
		at[0] = "total"
		row(at, func(f figure) string { return f.show(total) })
	}
	if total.Unpriced > 0 {
		p.printf("+? the price of a model, speed, tier, region or tool is not known (the log names it): add it to \"prices\"\n")
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

// auditColumns are figures that show whether an upstream delivers the model, cache and token counts
// that it bills.
func auditColumns() []figure {
	share := func(part, whole int64) string {
		if whole == 0 {
			return "-"
		}
		return fmt.Sprintf("%d/%d", part, whole)
	}
	return []figure{
		{title: "other model", exact: func(s *ledger.Sums) string { return share(s.OtherModel, s.Attempts-s.Failures) }},
		{title: "warm but cold", exact: func(s *ledger.Sums) string { return share(s.Cold, s.Warm) }},
		{title: "odd count", exact: func(s *ledger.Sums) string { return share(s.FarFromEstimate, s.Estimable) }},
	}
}

// Printable quotes control characters in text of a client, and shortens it for a table.
func Printable(s string) string {
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

// printer writes text and records the first error.
type printer struct {
	to  io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.to, format, args...)
	}
}

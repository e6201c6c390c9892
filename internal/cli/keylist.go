package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/report"
	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

// list prints the names, limits and spending of the keys, but not the keys themselves.
func (k *keyCommand) list(ctx context.Context, std service.Std) error {
	cfg, err := k.loadForReading(std)
	if err != nil {
		return err
	}
	if len(cfg.AuthKeys) == 0 {
		_, err := fmt.Fprintln(std.Out, "no client keys")
		return err
	}
	now := time.Now()
	spent, err := spendingOf(ctx, std, k.path, cfg, now)
	if err != nil {
		fmt.Fprintln(std.Err, "key list: the spending of the keys is not known:", err)
	}
	for _, note := range service.WaitingRows(ctx, std, k.path) {
		fmt.Fprintln(std.Err, "key list:", note)
	}
	out := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
	p := printer{to: out}
	p.printf("name\tgroup\tvalid\trpm\ttpm\tconcurrency\tbudget $\tspent $\tleft $\tmodels\tfrom\n")
	for i := range cfg.AuthKeys {
		key := &cfg.AuthKeys[i]
		p.printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			report.Printable(key.Name), report.Printable(key.Group), validity(key, now),
			orDash(key.RPM), orDash(key.TPM), orDash(key.Concurrency), budgetText(key.Budget),
			spent.of(key.Name), spent.left(key.Name), orAll(key.Models), orAll(key.IPs))
	}
	if p.err != nil {
		return p.err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.Out, "Days, weeks and months begin in %s, unless a key's budget names another zone. For a key without a budget, the spending is that of this month.\n", cfg.TimeZone)
	return err
}

// loadForReading reads the configuration with its keys. It makes the keys file if it is missing.
func (k *keyCommand) loadForReading(std service.Std) (*config.Config, error) {
	if err := k.locate(std); err != nil {
		return nil, err
	}
	if _, err := os.Stat(k.keysFile); k.keysFile != "" && errors.Is(err, fs.ErrNotExist) {
		unlock, err := k.lock(std)
		unlock()
		if err != nil {
			return nil, err
		}
	}
	return k.load(std)
}

// spending is the spending of client keys according to the ledger. The zero value stands for
// unknown spending.
type spending struct {
	budgets map[string][]quota.BudgetView
	month   map[string]ledger.Money // by key; nil if unknown
}

// spendingTime limits how long a list of keys waits for the ledger, which may be a database that
// does not respond.
const spendingTime = 10 * time.Second

// spendingOf queries the ledger of a configuration. It is not an error if the ledger is off or does
// not exist yet.
func spendingOf(ctx context.Context, std service.Std, path string, cfg *config.Config, now time.Time) (spending, error) {
	ctx, cancel := context.WithTimeout(ctx, spendingTime)
	defer cancel()
	whole, problems, err := service.LoadConfig(std, path, service.UnusedByLedger()...)
	switch {
	case err != nil:
		return spending{}, err
	case problems.Failed():
		return spending{}, service.FaultyConfig(path, problems)
	}
	where := service.LedgerAt(path, whole, service.NewState(std, path, whole, slog.New(slog.DiscardHandler)))
	if where == "" {
		return spending{}, nil
	}
	if err := store.Exists(where); errors.Is(err, store.ErrMissing) {
		return spending{}, nil
	} else if err != nil {
		return spending{}, err
	}
	s, err := store.OpenReader(ctx, where)
	if err != nil {
		return spending{}, err
	}
	defer s.Close()
	// The balancer's own budgets compute the spending, so that both agree.
	history := &firstErrorHistory{History: s}
	book := quota.NewBook(event.NewBus(slog.New(slog.DiscardHandler)), history)
	book.Compile(ctx, cfg, now)
	if history.err != nil {
		return spending{}, history.err
	}
	found := spending{budgets: map[string][]quota.BudgetView{}, month: map[string]ledger.Money{}}
	for _, v := range book.View(now) {
		found.budgets[v.Name] = v.Budgets
	}
	zone, err := config.Zone(cfg.TimeZone)
	if err != nil {
		return spending{}, err
	}
	y, m, _ := now.In(zone).Date()
	lines, err := s.Report(ctx, store.Question{
		Since: time.Date(y, m, 1, 0, 0, 0, 0, zone), Until: now.Add(time.Second), By: []store.Dimension{store.Key}, Zone: zone,
	})
	if err != nil {
		return spending{}, err
	}
	for _, line := range lines {
		found.month[line.At[0]] = line.Sums.Cost
	}
	return found, nil
}

// firstErrorHistory records the first error of a history.
type firstErrorHistory struct {
	quota.History
	err error
}

// Spent implements quota.History.
func (h *firstErrorHistory) Spent(ctx context.Context, client string, since, until time.Time) (ledger.Money, error) {
	spent, err := h.History.Spent(ctx, client, since, until)
	if h.err == nil {
		h.err = err
	}
	return spent, err
}

// of returns the spending of a key, for the table.
func (s spending) of(name string) string {
	if s.month == nil {
		return "?"
	}
	budgets := s.budgets[name]
	if len(budgets) == 0 {
		return dollars(s.month[name].Dollars()) + "/month"
	}
	return perWindow(budgets, func(b quota.BudgetView) float64 { return b.Spent })
}

// left returns what is left of a key's budgets, for the table.
func (s spending) left(name string) string {
	switch budgets := s.budgets[name]; {
	case s.month == nil:
		return "?"
	case len(budgets) == 0:
		return "-"
	default:
		return perWindow(budgets, func(b quota.BudgetView) float64 { return max(b.Limit-b.Spent, 0) })
	}
}

func perWindow(budgets []quota.BudgetView, amount func(quota.BudgetView) float64) string {
	parts := make([]string, len(budgets))
	for i, b := range budgets {
		parts[i] = dollars(amount(b)) + "/" + b.Window
	}
	return strings.ReplaceAll(strings.Join(parts, " "), "/total", " in total")
}

func dollars(d float64) string { return strconv.FormatFloat(d, 'f', 2, 64) }

// validity states until when a key and its former secret are valid.
func validity(k *config.ClientKey, now time.Time) string {
	former := ""
	for _, p := range k.Previous {
		if now.Before(p.End()) {
			former = ", the former one to " + p.End().UTC().Format("2006-01-02T15:04Z")
		}
	}
	switch end := k.Expiry(); {
	case end.IsZero():
		return "always" + former
	case !now.Before(end):
		return "EXPIRED " + k.Expires
	default:
		return "to " + k.Expires + former
	}
}

func orDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func orAll(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return report.Printable(strings.Join(list, ","))
}

func budgetText(b config.Budget) string {
	var parts []string
	for _, each := range []struct {
		amount float64
		per    string
	}{{b.Day, "/day"}, {b.Week, "/week"}, {b.Month, "/month"}, {b.Total, " in total"}} {
		if each.amount > 0 {
			parts = append(parts, number(each.amount)+each.per)
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, " ")
}

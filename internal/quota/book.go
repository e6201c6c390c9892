package quota

import (
	"cmp"
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// History knows earlier spending. Spent returns what a client has spent on requests that began in
// [since, until).
type History interface {
	Spent(ctx context.Context, client string, since, until time.Time) (ledger.Money, error)
}

// Book is the usage of all keys. It outlives generations of the configuration. Safe for concurrent
// use.
type Book struct {
	log     *event.Bus
	history History // nil: earlier spending is unknown
	all     queue   // of all keys together

	mu       sync.Mutex
	accounts map[string]*account // by name of the key; a removed key may come back
	current  []*Key
}

// NewBook returns a book without usage. history may be nil.
func NewBook(log *event.Bus, history History) *Book {
	return &Book{log: log, history: history, accounts: map[string]*account{}}
}

// Compile returns the keys of a generation, with their usage so far, and applies their limits.
func (b *Book) Compile(ctx context.Context, cfg *config.Config, now time.Time) *Keyring {
	r := &Keyring{keys: map[[sha256.Size]byte]*Key{}}
	var list []*Key
	b.all.resize(cfg.MaxConcurrency)
	for _, spec := range cfg.AuthKeys {
		spec.Budget.TimeZone = cmp.Or(spec.Budget.TimeZone, cfg.TimeZone)
		a := b.account(spec.Name, now)
		a.configure(spec, now)
		key := &Key{spec: spec, expires: spec.Expiry(), from: spec.Prefixes(), tenant: spec.Tenant(), self: config.TenantOfKey(spec.Name), account: a, book: b}
		r.keys[spec.Hash()] = key
		for _, p := range spec.Previous {
			former := *key
			former.until = p.End()
			r.keys[p.Hash()] = &former
		}
		list = append(list, key)
	}
	b.mu.Lock()
	b.current = list
	b.mu.Unlock()
	b.Restore(ctx, now)
	return r
}

// formerPeriod is the interval in which the log names a key whose former secret is still in use.
const formerPeriod = 10 * time.Minute

func (b *Book) account(name string, now time.Time) *account {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[name]
	if a == nil {
		a = &account{name: name, since: now, former: telemetry.Occasional{Every: formerPeriod}}
		b.accounts[name] = a
	}
	return a
}

// Restore queries the history for the earlier spending of keys with a budget, if it is not known
// yet. Until then they count from zero: an unavailable ledger blocks no key.
func (b *Book) Restore(ctx context.Context, now time.Time) {
	if b.history == nil {
		return
	}
	b.mu.Lock()
	list := b.current
	b.mu.Unlock()
	for _, k := range list {
		for w := range window(windows) {
			if w.limit(k.spec.Budget) == 0 {
				continue
			}
			if err := b.restore(ctx, k.account, w, now); err != nil {
				b.log.Warn(telemetry.BudgetUnknown, telemetry.Client, k.Name(), telemetry.Window, w.String(), telemetry.Err, err)
				return
			}
		}
	}
}

func (b *Book) restore(ctx context.Context, a *account, w window, now time.Time) error {
	a.mu.Lock()
	p := &a.periods[w]
	p.roll(w, now, a.zone)
	begin, done, until := p.begin, p.restored, a.since
	a.mu.Unlock()
	if done {
		return nil
	}
	spent, err := b.history.Spent(ctx, a.name, begin, until)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.begin.Equal(begin) && !p.restored {
		p.spent = plus(p.spent, spent)
		p.restored = true
	}
	return nil
}

// KeyView is a key with its limits and their usage, for people.
type KeyView struct {
	Name        string       `json:"name"`
	Expires     *time.Time   `json:"expires,omitempty"`
	Models      []string     `json:"models,omitempty"`
	IPs         []string     `json:"ips,omitempty"`
	Priority    int          `json:"priority"`
	InFlight    int          `json:"in_flight"`
	Waiting     int          `json:"waiting"`
	Concurrency int          `json:"concurrency,omitempty"`
	Requests    *RateView    `json:"requests_per_minute,omitempty"`
	Tokens      *RateView    `json:"tokens_per_minute,omitempty"`
	Budgets     []BudgetView `json:"budgets,omitempty"`
	Group       string       `json:"group,omitempty"`
	TimeZone    string       `json:"time_zone,omitempty"`    // of the budgets
	FormerUntil *time.Time   `json:"former_until,omitempty"` // when the last former secret ends
	FormerUsed  *time.Time   `json:"former_used,omitempty"`  // when a former secret was last used
}

// RateView is a limit per minute.
type RateView struct {
	Limit     int     `json:"limit"`
	Remaining float64 `json:"remaining"`
}

// BudgetView is a budget, in dollars.
type BudgetView struct {
	Window   string     `json:"window"`
	Limit    float64    `json:"limit_usd"`
	Spent    float64    `json:"spent_usd"`
	Reserved float64    `json:"reserved_usd"` // by requests in flight
	Resets   *time.Time `json:"resets,omitempty"`
}

// View lists the keys of the generation in force.
func (b *Book) View(now time.Time) []KeyView {
	b.mu.Lock()
	keys := b.current
	b.mu.Unlock()
	list := make([]KeyView, 0, len(keys))
	for _, k := range keys {
		list = append(list, k.view(now))
	}
	return list
}

func (k *Key) view(now time.Time) KeyView {
	s := k.spec
	v := KeyView{Name: s.Name, Models: s.Models, IPs: s.IPs, Priority: s.Priority, Concurrency: s.Concurrency, Group: s.Group}
	if !k.expires.IsZero() {
		v.Expires = &k.expires
	}
	for _, p := range s.Previous {
		if end := p.End(); now.Before(end) && (v.FormerUntil == nil || v.FormerUntil.Before(end)) {
			v.FormerUntil = &end
		}
	}
	if used := k.account.formerUsed.Load(); used > 0 && v.FormerUntil != nil {
		at := time.Unix(used, 0).UTC()
		v.FormerUsed = &at
	}
	v.InFlight, v.Waiting = k.account.slots.length()
	a := k.account
	a.mu.Lock()
	defer a.mu.Unlock()
	rate := func(limit int, b *bucket) *RateView {
		if limit == 0 {
			return nil
		}
		b.fill(now)
		return &RateView{limit, max(b.level, 0)}
	}
	v.Requests, v.Tokens = rate(s.RPM, &a.rpm), rate(s.TPM, &a.tpm)
	for w := range window(windows) {
		limit := w.limit(s.Budget)
		if limit == 0 {
			continue
		}
		p := &a.periods[w]
		p.roll(w, now, a.zone)
		budget := BudgetView{Window: w.String(), Limit: limit.Dollars(), Spent: p.spent.Dollars(), Reserved: a.reserved.Dollars()}
		if end := w.end(p.begin); !end.IsZero() {
			budget.Resets = &end
		}
		v.Budgets, v.TimeZone = append(v.Budgets, budget), a.zone.String()
	}
	return v
}

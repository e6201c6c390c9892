package quota

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// shop is a book with one key.
type shop struct {
	t    *testing.T
	book *Book
	key  *Key
	log  bytes.Buffer
}

func open(t *testing.T, spec config.ClientKey, history History) *shop {
	t.Helper()
	s := &shop{t: t}
	s.book = NewBook(event.NewBus(slog.New(slog.NewTextHandler(&s.log, nil))), history)
	s.reload(spec)
	return s
}

func (s *shop) reload(spec config.ClientKey) {
	if spec.Name == "" {
		spec.Name = "ann"
	}
	spec.Key = config.NewSecret("secret")
	s.key = s.book.Compile(s.t.Context(), &config.Config{AuthKeys: []config.ClientKey{spec}}, time.Now()).Find("secret")
}

// dollars is the demand of a request that costs at most d.
func dollars(d float64) Demand {
	return Demand{Message: true, Input: 1000, Output: 100, Price: func(claude.Usage) ledger.Cost { return ledger.Cost{Sum: ledger.USD(d), Known: true} }}
}

// spending is the entry of a request with this cost.
func spending(d float64, output int64) *ledger.Entry {
	return &ledger.Entry{Outcome: ledger.Answered, Attempts: []ledger.Attempt{{
		Served: true, Cost: ledger.Cost{Sum: ledger.USD(d), Known: true},
		Answer: claude.Message{Started: true, Delta: true, Usage: claude.Usage{InputTokens: 1000, OutputTokens: output}},
	}}}
}

func (s *shop) enter(ask Demand) *Reservation {
	s.t.Helper()
	p, err := s.book.Enter(s.t.Context(), s.key, ask)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *shop) refused(ask Demand, reason string) *Refusal {
	s.t.Helper()
	_, err := s.book.Enter(s.t.Context(), s.key, ask)
	r, ok := errors.AsType[*Refusal](err)
	if !ok || r.Reason != reason {
		s.t.Fatalf("%v, want a refusal for %s", err, reason)
	}
	return r
}

// TestTwoHundredAtOnceDoNotOvershoot sends more requests at the same time than the budget allows.
func TestTwoHundredAtOnceDoNotOvershoot(t *testing.T) {
	s := open(t, config.ClientKey{Budget: config.Budget{Day: 1}}, nil)
	const estimate, real = 0.03, 0.025
	var wg sync.WaitGroup
	var mu sync.Mutex
	spent, answered, final := 0.0, 0, 0
	for range 200 {
		wg.Go(func() {
			for {
				p, err := s.book.Enter(t.Context(), s.key, dollars(estimate))
				if r, ok := errors.AsType[*Refusal](err); ok {
					if !r.Final { // others are in flight: retry as a client would
						continue
					}
					mu.Lock()
					final++
					mu.Unlock()
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				s.book.Settle(p, spending(real, 10))
				mu.Lock()
				spent += real
				answered++
				mu.Unlock()
				return
			}
		})
	}
	wg.Wait()
	if spent > 1 || spent < 1-estimate || answered+final != 200 {
		t.Errorf("$%g were spent by %d requests, %d were refused", spent, answered, final)
	}
	if left := s.key.account.reserved; left != 0 {
		t.Errorf("%d are reserved without a request", left)
	}
}

func TestBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is midnight of 1 January 2000, a Saturday, in UTC
		s := open(t, config.ClientKey{Budget: config.Budget{Day: 1, Week: 1.5, TimeZone: "America/New_York"}}, nil)
		s.book.Settle(s.enter(dollars(0.5)), spending(0.85, 10))
		r := s.refused(dollars(0.5), "budget of the day")
		if !r.Final || r.Status != 429 || r.Type != claude.ErrRateLimit || !strings.Contains(r.Message, "$0.1500 left of its budget of $1.00 per day") ||
			!strings.Contains(r.Message, "Saturday, 1 January 2000 at 00:00 EST") {
			t.Errorf("%+v", r)
		}
		time.Sleep(5*time.Hour + time.Minute) // midnight in New York
		p := s.enter(dollars(0.5))
		if r := s.refused(dollars(0.2), "budget of the week"); r.Final || r.RetryAfter == 0 || !strings.Contains(r.Message, "others are under way") {
			t.Errorf("%+v", r)
		}
		s.book.Settle(p, spending(0.7, 10))
		if r := s.refused(dollars(0.1), "budget of the week"); !r.Final || !strings.Contains(r.Message, "has spent its budget of $1.50 per week") || !strings.Contains(r.Message, "Monday, 3 January") {
			t.Errorf("%+v", r)
		}
		for _, want := range []string{"budget nearly spent", "window=day spent=0.850000 limit=1.000000", "budget spent", "window=week spent=1.550000"} {
			if n := strings.Count(s.log.String(), want); n != 1 {
				t.Errorf("%d times %q:\n%s", n, want, &s.log)
			}
		}
		time.Sleep(3 * 24 * time.Hour)
		s.book.Settle(s.enter(dollars(0.9)), spending(0.1, 10))
	})
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, config.ClientKey{RPM: 2, TPM: 3000}, nil)
		small := Demand{Message: true, Input: 100, Output: 100}
		for range 2 {
			s.book.Settle(s.enter(small), spending(0, 0))
		}
		if r := s.refused(small, "requests per minute"); r.Final || r.Status != 429 || r.RetryAfter != 30*time.Second {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Minute)
		// 1000 of the 3000 tokens were used twice, and refilled in between.
		s.book.Settle(s.enter(Demand{Message: true, Input: 2000, Cached: 1500, Output: 100}), spending(0, 1900)) // in fact 2900
		if r := s.refused(small, "tokens per minute"); r.RetryAfter != 2*time.Second {
			t.Errorf("%+v", r)
		}
		time.Sleep(2 * time.Second)
		s.book.Settle(s.enter(small), spending(0, 0))
		time.Sleep(time.Hour)
		// A prompt larger than the limit takes all of it. Otherwise it would never be admitted.
		s.book.Settle(s.enter(Demand{Message: true, Input: 50_000}), spending(0, 0))
	})
}

func TestSlotsAreSharedFairly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, config.ClientKey{Concurrency: 1}, nil)
		first := s.enter(Demand{Session: "greedy"})
		var order []string
		var mu sync.Mutex
		wait := func(session string) {
			go func() {
				p, err := s.book.Enter(t.Context(), s.key, Demand{Session: session})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, session)
				mu.Unlock()
				time.Sleep(time.Second)
				s.book.Settle(p, &ledger.Entry{})
			}()
			synctest.Wait()
		}
		for _, session := range []string{"greedy", "greedy", "modest"} {
			wait(session)
		}
		if v := s.book.View(time.Now())[0]; v.InFlight != 1 || v.Waiting != 3 {
			t.Errorf("%+v", v)
		}
		s.key.account.slots.resize(2) // space for one more while a greedy key has one
		synctest.Wait()
		s.book.Settle(first, &ledger.Entry{})
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(order) != 3 || order[0] != "modest" {
			t.Errorf("%q", order)
		}
		if in, waiting := s.key.account.slots.length(); in != 0 || waiting != 0 {
			t.Errorf("%d in, %d waiting", in, waiting)
		}
	})
}

func TestPriorityAmongKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := NewBook(event.NewBus(slog.New(slog.DiscardHandler)), nil)
		ring := book.Compile(t.Context(), &config.Config{MaxConcurrency: 1, AuthKeys: []config.ClientKey{
			{Name: "batch", Key: config.NewSecret("b")}, {Name: "human", Key: config.NewSecret("h"), Priority: 5},
		}}, time.Now())
		busy, err := book.Enter(t.Context(), nil, Demand{})
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		for _, shown := range []string{"b", "b", "h"} {
			go func() {
				p, err := book.Enter(t.Context(), ring.Find(shown), Demand{})
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, shown)
				book.Settle(p, &ledger.Entry{})
			}()
			synctest.Wait()
		}
		book.Settle(busy, &ledger.Entry{})
		synctest.Wait()
		if fmt.Sprint(order) != "[h b b]" {
			t.Errorf("%q", order)
		}
	})
}

func TestWhoLeavesTheQueueTakesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, config.ClientKey{Concurrency: 1}, nil)
		first := s.enter(Demand{})
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if _, err := s.book.Enter(ctx, s.key, Demand{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		for range s.key.account.slots.maxWaiting() {
			go func() {
				if p, err := s.book.Enter(t.Context(), s.key, Demand{}); err == nil {
					s.book.Settle(p, &ledger.Entry{})
				}
			}()
		}
		synctest.Wait()
		s.refused(Demand{}, "queue full")
		s.book.Settle(first, &ledger.Entry{})
		synctest.Wait()
		s.book.Settle(s.enter(Demand{}), &ledger.Entry{})
	})
}

func TestModelsAndBatches(t *testing.T) {
	s := open(t, config.ClientKey{Models: []string{"claude-haiku-*", "claude-sonnet-?-5"}}, nil)
	f := func(ask Demand, reason string) {
		t.Helper()
		if reason != "" {
			if r := s.refused(ask, reason); r.Status != 403 || r.Type != claude.ErrPermission {
				t.Errorf("%+v", r)
			}
			return
		}
		s.book.Settle(s.enter(ask), &ledger.Entry{})
	}
	f(Demand{Model: "claude-haiku-5"}, "")
	f(Demand{Model: "CLAUDE-sonnet-4-5"}, "")
	f(Demand{Model: "claude-opus-4-5"}, "model")
	f(Demand{Model: "claude-haiku-5,claude-opus-4-5"}, "model")
	f(Demand{Model: "claude-haiku-5 claude-opus-4-5"}, "model")
	f(Demand{Batch: true, Models: []string{"claude-haiku-5", "claude-opus-4-5"}}, "model")
	f(Demand{Batch: true, Unclear: true}, "model")
	f(Demand{Batch: true, Models: []string{"claude-haiku-5"}}, "")
	f(Demand{Message: true, Model: "claude-haiku-5", Open: true}, "model")
	s.reload(config.ClientKey{Budget: config.Budget{Total: 1}})
	f(Demand{Batch: true}, "batch")
}

func TestAdmit(t *testing.T) {
	now := time.Now()
	f := func(spec config.ClientKey, remote, reason string) {
		t.Helper()
		got := ""
		if r := open(t, spec, nil).key.Admit(remote, now); r != nil {
			got = r.Reason
		}
		if got != reason {
			t.Errorf("%+v from %s: %q, want %q", spec, remote, got, reason)
		}
	}
	f(config.ClientKey{}, "nonsense", "")
	f(config.ClientKey{Expires: "2020-01-01"}, "1.2.3.4:5", "key expired")
	f(config.ClientKey{Expires: now.Add(48 * time.Hour).Format(time.DateOnly)}, "1.2.3.4:5", "")
	local := config.ClientKey{IPs: []string{"10.0.0.0/8", "192.0.2.7", "fd00::/8"}}
	f(local, "10.1.2.3:99", "")
	f(local, "[::ffff:10.1.2.3]:99", "")
	f(local, "192.0.2.7:1", "")
	f(local, "192.0.2.8:1", "address")
	f(local, "[fd00::1%eth0]:1", "")
	f(local, "nonsense", "address")
}

// past is a history that may be unavailable.
type past struct {
	err   error
	spent ledger.Money
	asked []time.Time
}

func (p *past) Spent(_ context.Context, client string, since, until time.Time) (ledger.Money, error) {
	p.asked = append(p.asked, since, until)
	if client != "ann" {
		return 0, fmt.Errorf("unknown client %s", client)
	}
	return p.spent, p.err
}

func TestBudgetsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * time.Hour)
		history := &past{err: errors.New("the ledger is down"), spent: ledger.USD(0.9)}
		s := open(t, config.ClientKey{Budget: config.Budget{Day: 1}}, history)
		s.book.Settle(s.enter(dollars(0.3)), spending(0.05, 1)) // an unavailable ledger blocks no key
		if !strings.Contains(s.log.String(), "count from zero") {
			t.Error(&s.log)
		}
		history.err = nil
		time.Sleep(time.Minute)
		s.book.Restore(t.Context(), time.Now())
		s.book.Restore(t.Context(), time.Now())
		if v := s.book.View(time.Now())[0].Budgets[0]; v.Spent != 0.95 {
			t.Errorf("%+v", v)
		}
		s.refused(dollars(0.3), "budget of the day")
		if since, until := history.asked[2], history.asked[3]; since.Hour() != 0 || until.Sub(since) != 6*time.Hour || len(history.asked) != 4 {
			t.Errorf("queried for %s", history.asked)
		}
		// A reload that changes the limit keeps the spending.
		s.reload(config.ClientKey{Budget: config.Budget{Day: 2}})
		s.book.Settle(s.enter(dollars(0.3)), spending(0.05, 1))
		if v := s.book.View(time.Now())[0].Budgets[0]; v.Spent != 1 || v.Limit != 2 {
			t.Errorf("%+v", v)
		}
	})
}

// TestOutputIsLearned checks that a response is expected to be no longer than earlier ones.
func TestOutputIsLearned(t *testing.T) {
	s := open(t, config.ClientKey{TPM: 100_000}, nil)
	ask := Demand{Message: true, Output: 32_000}
	if p := s.enter(ask); p.tokens != 32_000 {
		t.Errorf("%g tokens", p.tokens)
	}
	for range 10 {
		s.book.Settle(s.enter(Demand{Message: true, Output: 1}), spending(0, 500))
	}
	if p := s.enter(ask); p.tokens < 500 || p.tokens > 1100 {
		t.Errorf("%g tokens", p.tokens)
	}
}

func TestWindows(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	f := func(w window, now, begin, end string) {
		t.Helper()
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		b := w.begin(at, berlin)
		if got := b.Format(time.RFC3339); got != begin {
			t.Errorf("%s of %s begins at %s, want %s", w, now, got, begin)
		}
		if got := w.end(b).Format(time.RFC3339); got != end {
			t.Errorf("%s of %s ends at %s, want %s", w, now, got, end)
		}
	}
	f(daily, "2026-03-29T00:30:00Z", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00") // 23 hours
	f(daily, "2026-05-01T22:30:00Z", "2026-05-02T00:00:00+02:00", "2026-05-03T00:00:00+02:00")
	f(weekly, "2026-05-03T12:00:00Z", "2026-04-27T00:00:00+02:00", "2026-05-04T00:00:00+02:00") // a Sunday
	f(monthly, "2026-12-31T23:30:00Z", "2027-01-01T00:00:00+01:00", "2027-02-01T00:00:00+01:00")
}

// TestAFormerSecretWorksUntilItsEnd checks its name and limits, and that the log names it at a limited rate.
func TestAFormerSecretWorksUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(24 * time.Hour)
		sum := sha256.Sum256([]byte("old"))
		spec := config.ClientKey{RPM: 3, Group: "team", Previous: []config.PreviousKey{{KeySHA256: fmt.Sprintf("%x", sum), Until: end.Format(time.RFC3339)}}}
		s := open(t, spec, nil)
		ring := s.book.Compile(t.Context(), &config.Config{AuthKeys: []config.ClientKey{withName(spec)}}, time.Now())
		present, former := ring.Find("secret"), ring.Find("old")
		if former == nil || former.Name() != "ann" || former.Tenant() != present.Tenant() || former.Tenant() != "group team" {
			t.Fatalf("%+v", former)
		}
		for range 3 {
			if r := former.Admit("192.0.2.7:5", time.Now()); r != nil {
				t.Error(r)
			}
		}
		if r := present.Admit("192.0.2.7:5", time.Now()); r != nil {
			t.Error(r)
		}
		if n := strings.Count(s.log.String(), "former secret"); n != 1 || !strings.Contains(s.log.String(), "client=ann") {
			t.Errorf("%d lines in %s", n, s.log.String())
		}
		if v := s.book.View(time.Now())[0]; v.FormerUsed == nil || v.FormerUntil == nil || v.Group != "team" {
			t.Errorf("%+v", v)
		}
		s.key = present
		s.enter(Demand{Counted: true})
		s.enter(Demand{Counted: true})
		s.key = former
		s.enter(Demand{Counted: true})
		s.refused(Demand{Counted: true}, "requests per minute")
		time.Sleep(24 * time.Hour)
		if r := former.Admit("192.0.2.7:5", time.Now()); r == nil || r.Status != 401 || !strings.Contains(r.Message, "replaced") {
			t.Errorf("after its end: %+v", r)
		}
		if v := s.book.View(time.Now())[0]; v.FormerUntil != nil {
			t.Errorf("%+v", v)
		}
	})
}

func withName(spec config.ClientKey) config.ClientKey {
	spec.Name, spec.Key = "ann", config.NewSecret("secret")
	return spec
}

// TestOneCalendar checks that budgets without their own time zone use the common one.
func TestOneCalendar(t *testing.T) {
	s := open(t, config.ClientKey{}, nil)
	spec := withName(config.ClientKey{Budget: config.Budget{Day: 1}})
	own := withName(config.ClientKey{Budget: config.Budget{Day: 1, TimeZone: "Asia/Tokyo"}})
	own.Name, own.Key = "bob", config.NewSecret("other")
	s.book.Compile(t.Context(), &config.Config{TimeZone: "Europe/Berlin", AuthKeys: []config.ClientKey{spec, own}}, time.Now())
	if v := s.book.View(time.Now()); v[0].TimeZone != "Europe/Berlin" || v[1].TimeZone != "Asia/Tokyo" || v[0].Budgets[0].Resets.Location().String() != "Europe/Berlin" {
		t.Errorf("%+v", v)
	}
}

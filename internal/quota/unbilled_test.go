package quota

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// TestWhoLeavesEarlyPays ends responses before they have reported their whole usage.
func TestWhoLeavesEarlyPays(t *testing.T) {
	cent := func(u claude.Usage) ledger.Cost { // per token
		return ledger.Cost{Sum: ledger.USD(0.01) * ledger.Money(u.TotalInputTokens()+u.OutputTokens), Known: true}
	}
	f := func(name string, e ledger.Entry, want float64) {
		t.Helper()
		s := open(t, config.ClientKey{Budget: config.Budget{Day: 1000}}, nil)
		p := s.enter(Demand{Message: true, Input: 100, Output: 50, Price: cent})
		s.book.Settle(p, &e)
		if got := s.key.view(time.Now()).Budgets[0].Spent; math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: $%v, want $%v", name, got, want)
		}
	}
	attempt := func(message claude.Message, scope string) []ledger.Attempt {
		a := ledger.Attempt{Served: message.Started, Scope: scope, Answer: message}
		if message.Started {
			a.Cost = cent(message.Usage)
		}
		return []ledger.Attempt{a}
	}
	begun := claude.Message{Started: true, Content: true, Usage: claude.Usage{InputTokens: 90, OutputTokens: 1}}
	whole := begun
	whole.Delta = true
	f("all was told", ledger.Entry{Outcome: ledger.ClientGone, Stream: true, Bytes: 3200, Attempts: attempt(whole, "client")}, 0.91)
	f("left in the middle", ledger.Entry{Outcome: ledger.ClientGone, Stream: true, Attempts: attempt(begun, "client")}, 0.91)
	f("left before a stream began", ledger.Entry{Outcome: ledger.ClientGone, Stream: true, Attempts: attempt(claude.Message{}, "client")}, 1.00)
	f("left before an answer came", ledger.Entry{Outcome: ledger.ClientGone, Attempts: attempt(claude.Message{}, "client")}, 1.50)
	f("left while others had failed", ledger.Entry{Outcome: ledger.ClientGone, Attempts: attempt(claude.Message{}, "endpoint")}, 0)
	f("left while it waited", ledger.Entry{Outcome: ledger.ClientGone}, 0)
	f("failed", ledger.Entry{Outcome: ledger.Failed, Attempts: attempt(claude.Message{}, "endpoint")}, 0)

	unpriced := attempt(whole, "none")
	unpriced[0].Cost = ledger.Cost{}
	f("a model without a price", ledger.Entry{Outcome: ledger.Answered, Attempts: unpriced}, 0.91)
}

// TestFurtherModelsAreCharged checks that further model calls within a response are charged, and charged once.
func TestFurtherModelsAreCharged(t *testing.T) {
	advised := ledger.Attempt{
		Served: true, Scope: "none", Answer: claude.Message{Started: true, Delta: true, Usage: claude.Usage{InputTokens: 10, OutputTokens: 5}},
		Extra: []ledger.Extra{{Type: "advisor_message", Model: "claude-opus-4-8", Usage: claude.Usage{InputTokens: 100, OutputTokens: 85}, Sum: ledger.USD(1.9)}},
		Cost:  ledger.Cost{Sum: ledger.USD(2), Known: true},
	}
	f := func(name string, a ledger.Attempt, spent, tokens float64) {
		t.Helper()
		s := open(t, config.ClientKey{TPM: 1000, Budget: config.Budget{Day: 1000}}, nil)
		price := func(claude.Usage) ledger.Cost { return ledger.Cost{Sum: ledger.USD(3), Known: true} }
		s.book.Settle(s.enter(Demand{Message: true, Input: 1, Output: 1, Price: price}), &ledger.Entry{Outcome: ledger.Answered, Attempts: []ledger.Attempt{a}})
		if got := s.key.view(time.Now()).Budgets[0].Spent; math.Abs(got-spent) > 1e-6 {
			t.Errorf("%s: $%v, want $%v", name, got, spent)
		}
		if got := 1000 - s.key.account.tpm.level; math.Abs(got-tokens) > 1 {
			t.Errorf("%s: %v tokens, want %v", name, got, tokens)
		}
	}
	f("an advisor", advised, 2, 200)
	advised.Cost.Known = false
	f("an advisor without a price", advised, 3, 200)
	advised.Cost.Known, advised.Extra[0].Type = true, ledger.BatchResult
	f("results of a batch", advised, 2, 0)
}

// TestAbsurdAmountsDoNotWrapAround uses requests and responses with sizes that overflow.
func TestAbsurdAmountsDoNotWrapAround(t *testing.T) {
	s := open(t, config.ClientKey{TPM: 1000}, nil)
	s.book.Settle(s.enter(Demand{Message: true, Input: 10, Output: math.MinInt64}), &ledger.Entry{})
	s.book.Settle(s.enter(Demand{Message: true, Input: 10, Output: math.MaxInt64}), &ledger.Entry{})
	s.book.Settle(s.enter(Demand{Message: true, Input: 10, Output: 10}), &ledger.Entry{})

	s = open(t, config.ClientKey{Budget: config.Budget{Total: 1}}, nil)
	for range 3 {
		if p, err := s.book.Enter(t.Context(), s.key, dollars(0.1)); err == nil {
			e := spending(0, 10)
			e.Attempts[0].Cost.Sum = math.MaxInt64 / 2
			s.book.Settle(p, e)
		}
	}
	s.refused(dollars(0.1), "budget of the total")
	if got := plus(math.MaxInt64-1, 2); got != math.MaxInt64 {
		t.Error(got)
	}
}

// TestLimitedKeysAskWhatIsKnown checks that keys with limits cannot send requests whose usage is
// unknown.
func TestLimitedKeysAskWhatIsKnown(t *testing.T) {
	f := func(spec config.ClientKey, ask Demand, reason string) {
		t.Helper()
		s := open(t, spec, nil)
		if reason != "" {
			s.refused(ask, reason)
			return
		}
		s.book.Settle(s.enter(ask), &ledger.Entry{})
	}
	some := config.ClientKey{Models: []string{"claude-haiku-*"}}
	f(some, Demand{Unknown: true, Model: "claude-haiku-5"}, "")
	f(some, Demand{Unknown: true}, "model")
	f(some, Demand{Message: true}, "model")
	f(some, Demand{}, "")
	f(config.ClientKey{TPM: 1000}, Demand{Unknown: true, Model: "claude-haiku-5"}, "endpoint")
	f(config.ClientKey{Budget: config.Budget{Day: 1}}, Demand{Unknown: true}, "endpoint")
	f(config.ClientKey{RPM: 1}, Demand{Unknown: true}, "")
}

// TestACrowdMakesRoom fills the queue by one party before others come.
func TestACrowdMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q queue
		q.resize(1)
		q.enter(t.Context(), time.Time{}, "first", 0)
		sentAway := 0
		for range q.maxWaiting() {
			go func() {
				if in, full := q.enter(t.Context(), time.Time{}, "crowd", 0); full {
					sentAway++
				} else if in {
					q.leave("crowd")
				}
			}()
		}
		synctest.Wait()
		if in, full := q.enter(t.Context(), time.Time{}, "crowd", 0); in || !full {
			t.Error("one more of the crowd was allowed to wait")
		}
		if in, full := q.enter(t.Context(), time.Time{}, "nobody", -1); in || !full {
			t.Error("one of lower priority was allowed to wait")
		}
		var came bool
		go func() {
			came, _ = q.enter(t.Context(), time.Time{}, "other", 0)
			q.leave("other")
		}()
		synctest.Wait()
		if _, waiting := q.length(); sentAway != 1 || waiting != q.maxWaiting() {
			t.Errorf("%d evicted, %d wait", sentAway, waiting)
		}
		q.leave("first")
		synctest.Wait()
		if in, waiting := q.length(); !came || in != 0 || waiting != 0 {
			t.Errorf("came %t, then %d in and %d waiting", came, in, waiting)
		}
	})
}

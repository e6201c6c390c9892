package fakeclaude

import (
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"time"
)

// FaultRule says when a Fault happens. All conditions must hold; the first rule
// that strikes decides.
type FaultRule struct {
	Fault       Fault    `json:"fault"`
	Probability float64  `json:"p,omitempty"`      // 0 means always
	Count       int      `json:"count,omitempty"`  // how often at most; 0 means without end
	Path        string   `json:"path,omitempty"`   // path.Match pattern of the URL's path
	Model       string   `json:"model,omitempty"`  // path.Match pattern of the model
	Stream      *bool    `json:"stream,omitempty"` // only streaming requests, or only others
	From        Duration `json:"from,omitempty"`   // not before, counted from when the rules were set
	Until       Duration `json:"until,omitempty"`  // not from then on; 0 means no end
}

// Validate says what is wrong with a rule.
func (r FaultRule) Validate() error {
	if r.Fault.Kind == FaultNone {
		return fmt.Errorf("rule: which fault? (known: %s)", joined(FaultKinds()))
	}
	if err := r.Fault.Validate(); err != nil {
		return err
	}
	for _, pattern := range []string{r.Path, r.Model} {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("rule: pattern %q: %w", pattern, err)
		}
	}
	switch {
	case !(r.Probability >= 0 && r.Probability <= 1):
		return fmt.Errorf("rule: p is %v, want more than 0 and at most 1", r.Probability)
	case r.Count < 0:
		return fmt.Errorf("rule: count is negative")
	case r.From < 0 || r.Until < 0 || (r.Until > 0 && r.Until <= r.From):
		return fmt.Errorf("rule: the time from %s until %s is empty", r.From, r.Until)
	}
	return nil
}

// UnmarshalJSON reads an object or a string in the syntax of ParseFaultRule.
func (r *FaultRule) UnmarshalJSON(b []byte) error {
	if text, ok := jsonString(b); ok {
		parsed, err := ParseFaultRule(text)
		*r = parsed
		return err
	}
	type plain FaultRule // without this method
	var p plain
	if err := strictUnmarshal(b, &p); err != nil {
		return fmt.Errorf("rule: %w", err)
	}
	*r = FaultRule(p)
	return r.Validate()
}

// arrival is what the conditions of a rule look at.
type arrival struct {
	seq    uint64 // of the request on this server
	path   string
	model  string
	stream bool
	at     time.Time
}

// faultBook decides what goes wrong with a request. Safe for concurrent use.
type faultBook struct {
	seed uint64

	mu     sync.Mutex
	script []Fault
	rules  []FaultRule
	struck []int // per rule
	since  time.Time
}

func (b *faultBook) setRules(rules []FaultRule, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules, b.struck, b.since = rules, make([]int, len(rules)), now
}

func (b *faultBook) setScript(faults []Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.script = faults
}

func (b *faultBook) currentRules() []FaultRule {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]FaultRule{}, b.rules...)
}

func (b *faultBook) currentScript() []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Fault{}, b.script...)
}

// next takes the script's entry for this request, or asks the rules when the
// script is used up.
func (b *faultBook) next(a arrival) Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.script) > 0 {
		f := b.script[0]
		b.script = b.script[1:]
		return f
	}
	// One throw per rule and request, whether the rule applies or not: adding a
	// condition to one rule does not change the luck of the others.
	dice := rand.New(rand.NewPCG(b.seed, a.seq))
	for i, r := range b.rules {
		throw := dice.Float64()
		if !r.applies(a, b.since) || (r.Count > 0 && b.struck[i] >= r.Count) {
			continue
		}
		if r.Probability > 0 && throw >= r.Probability {
			continue
		}
		b.struck[i]++
		return r.Fault
	}
	return Fault{}
}

func (r FaultRule) applies(a arrival, since time.Time) bool {
	age := a.at.Sub(since)
	if age < time.Duration(r.From) || (r.Until > 0 && age >= time.Duration(r.Until)) {
		return false
	}
	if r.Stream != nil && *r.Stream != a.stream {
		return false
	}
	return matches(r.Path, a.path) && matches(r.Model, a.model)
}

func matches(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

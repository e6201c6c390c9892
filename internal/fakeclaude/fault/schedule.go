package fault

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Schedule decides what goes wrong with each request: first its script, then its rules. Safe for
// concurrent use.
type Schedule struct {
	Seed uint64 // of the random numbers; must not change after the first request

	mu     sync.Mutex
	script []Fault
	rules  []Rule
	counts []int // per rule: how often it has applied
	since  time.Time
}

// SetRules replaces the rules. Their times count from now.
func (s *Schedule) SetRules(rules []Rule, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules, s.counts, s.since = slices.Clone(rules), make([]int, len(rules)), now
}

// SetScript replaces the script: each of the next requests takes one fault.
func (s *Schedule) SetScript(faults []Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = slices.Clone(faults)
}

// Rules returns a copy of the rules; never nil.
func (s *Schedule) Rules() []Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Rule{}, s.rules...)
}

// Script returns a copy of what is left of the script; never nil.
func (s *Schedule) Script() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Fault{}, s.script...)
}

// Next takes the fault of this request from the script, or from the rules if the script has ended.
func (s *Schedule) Next(req Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.script) > 0 {
		f := s.script[0]
		s.script = s.script[1:]
		return f
	}
	// Draw one number per rule and request, whether the rule applies or not: a new condition in one
	// rule must not change the random numbers of the others.
	random := rand.New(rand.NewPCG(s.Seed, req.Seq))
	for i, r := range s.rules {
		draw := random.Float64()
		if !r.matches(req, s.since) || (r.Count > 0 && s.counts[i] >= r.Count) {
			continue
		}
		if r.Probability > 0 && draw >= r.Probability {
			continue
		}
		s.counts[i]++
		return r.Fault
	}
	return Fault{}
}

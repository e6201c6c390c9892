package fault

import (
	"fmt"
	"path"
	"time"
)

// Rule states which requests get a Fault. All conditions must hold. The first rule that applies
// decides.
type Rule struct {
	Fault       Fault    `json:"fault"`
	Probability float64  `json:"p,omitempty"`      // 0 means always
	Count       int      `json:"count,omitempty"`  // at most so often; 0 means no limit
	Path        string   `json:"path,omitempty"`   // path.Match pattern of the URL's path
	Model       string   `json:"model,omitempty"`  // path.Match pattern of the model
	Stream      *bool    `json:"stream,omitempty"` // only streaming requests, or only others
	From        Duration `json:"from,omitempty"`   // not before, counted from when the rules were set
	Until       Duration `json:"until,omitempty"`  // not at or after; 0 means no end
}

// Validate returns an error that describes what is wrong with the rule.
func (r Rule) Validate() error {
	if r.Fault.Kind == None {
		return fmt.Errorf("rule: which fault? (known: %s)", Join(Kinds()))
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

// conditional reports whether the rule has any condition.
func (r Rule) conditional() bool {
	return r.Probability != 0 || r.Count != 0 || r.Path != "" || r.Model != "" || r.Stream != nil || r.From != 0 || r.Until != 0
}

// Request is what the conditions of a rule see of a request.
type Request struct {
	Seq    uint64 // sequence number on the server
	Path   string
	Model  string
	Stream bool
	At     time.Time // of arrival
}

// matches reports whether all conditions besides Probability and Count hold. The rules were set at
// since.
func (r Rule) matches(req Request, since time.Time) bool {
	age := req.At.Sub(since)
	if age < time.Duration(r.From) || (r.Until > 0 && age >= time.Duration(r.Until)) {
		return false
	}
	if r.Stream != nil && *r.Stream != req.Stream {
		return false
	}
	return matchesPattern(r.Path, req.Path) && matchesPattern(r.Model, req.Model)
}

func matchesPattern(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

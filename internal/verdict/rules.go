package verdict

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// Rules are the operator's rules for responses. The zero value has no rules. Immutable.
type Rules []rule

type rule struct {
	config.ErrorRule
	scope       Scope
	message     *regexp.Regexp // nil: any
	header      string         // canonical name, "" for any header
	headerValue *regexp.Regexp // nil: any
}

// NewRules compiles rules that package config has checked. It panics on others.
func NewRules(written []config.ErrorRule) Rules {
	rules := make(Rules, len(written))
	for i, w := range written {
		name, value := w.HeaderParts()
		rules[i] = rule{
			ErrorRule: w, scope: scopeNamed(w.Scope), message: compile(w.Message),
			header: http.CanonicalHeaderKey(name), headerValue: compile(value),
		}
	}
	return rules
}

func compile(expression string) *regexp.Regexp {
	if expression == "" {
		return nil
	}
	return regexp.MustCompile(expression)
}

func scopeNamed(name config.ErrorScope) Scope {
	for scope, each := range scopeNames {
		if each == string(name) {
			return Scope(scope)
		}
	}
	return ScopeEndpoint
}

// Judge returns the outcome of the first rule that matches, or of the function Judge if no rule
// matches.
func (r Rules) Judge(ev Evidence) Outcome {
	o, _ := r.Explain(ev)
	return o
}

// Explain does what Judge does, and also returns the index of the rule that matched, or -1.
func (r Rules) Explain(ev Evidence) (Outcome, int) {
	if ev.Err == nil && ev.status() >= http.StatusBadRequest {
		for i := range r {
			if r[i].fits(ev) {
				return r[i].judge(ev), i
			}
		}
	}
	return Judge(ev), -1
}

func (r *rule) fits(ev Evidence) bool {
	message, kind := string(ev.Body), ""
	if ev.Error != nil {
		message, kind = ev.Error.Message, string(ev.Error.Type)
	}
	switch {
	case r.Server != "" && r.Server != ev.Server,
		r.Status != 0 && r.Status != ev.status(),
		r.Type != "" && r.Type != kind,
		r.scope == ScopeModel && ev.Model == "", // there is no model that could have a cooldown
		r.message != nil && !r.message.MatchString(message):
		return false
	case r.header == "":
		return true
	}
	values := ev.Header.Values(r.header)
	return len(values) > 0 && (r.headerValue == nil || r.headerValue.MatchString(strings.Join(values, ", ")))
}

// judge returns the outcome of a rule that matches.
func (r *rule) judge(ev Evidence) Outcome {
	o := Outcome{Scope: r.scope, Reason: reason(ev, ev.status()) + ", by a rule", RetryAfter: cooldownOf(ev, r.scope)}
	if ev.status() == http.StatusTooManyRequests && (r.scope == ScopeAccount || r.scope == ScopeCredential) {
		o.Cause = CauseUsedUp
	}
	if r.Duration > 0 {
		o.RetryAfter, o.FromRule = r.Duration, true
	}
	return ev.conclude(o)
}

package upstream

import (
	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// Subject has the properties of a request that an endpoint's state depends on.
type Subject struct {
	Path    string // class of the path by claude.PathClass, "" for messages
	Model   string // in the request, or ""
	Variant verdict.Variant
	Tenant  string // identifies the client's own credential if it is sent upstream, otherwise ""
	Body    uint64 // identifies the request's body: equal for equal bytes
	Tokens  int64  // estimated input tokens, for the account's load
	Demand  Demand // on the rate limits

	modelKey, classKey, limitKey string
}

// WithKeys returns the subject with its keys computed, for repeated use.
func (s Subject) WithKeys() Subject {
	s.modelKey, s.classKey, s.limitKey = s.model(), s.class(), s.limit()
	return s
}

// Has reports whether the request is of a variant.
func (s Subject) Has(v verdict.Variant) bool { return s.Variant&v != 0 }

// model returns the key of model breakers. An upstream may refuse a model with the long context
// only.
func (s Subject) model() string {
	switch {
	case s.modelKey != "":
		return s.modelKey
	case s.Has(verdict.LongContext):
		return s.Model + "[1m]"
	}
	return s.Model
}

// class returns the key of pauses. Limits apply to classes of models (rate-limits docs).
func (s Subject) class() string {
	switch {
	case s.classKey != "":
		return s.classKey
	case s.Has(verdict.Fast):
		return claude.ModelClass(s.Model) + "+fast|"
	}
	return claude.ModelClass(s.Model) + "|"
}

// limit returns the key of rate limits. A client's own credential has separate limits.
func (s Subject) limit() string {
	if s.limitKey != "" {
		return s.limitKey
	}
	return s.class() + s.Tenant
}

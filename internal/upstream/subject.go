package upstream

import (
	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// Subject has the properties of a request that an endpoint's state depends on.
type Subject struct {
	Path    string // the class of the path by claude.PathClass, "" for a message
	Model   string // asked for, "" if none
	Variant verdict.Variant
	Tenant  string // names the client's own credential where it is sent upstream, else ""
	Body    uint64 // names the request's body: the same for the same bytes
	Tokens  int64  // estimated input tokens, which add to an account's load
	Demand  Demand // of the limits

	modelKey, classKey, limitKey string
}

// WithKeys returns the subject with its keys computed once, for repeated use.
func (s Subject) WithKeys() Subject {
	s.modelKey, s.classKey, s.limitKey = s.model(), s.class(), s.limit()
	return s
}

// Has reports whether the subject has a property.
func (s Subject) Has(v verdict.Variant) bool { return s.Variant&v != 0 }

// model is the key of the breakers of models. A model may be refused with the long context alone.
func (s Subject) model() string {
	switch {
	case s.modelKey != "":
		return s.modelKey
	case s.Has(verdict.LongContext):
		return s.Model + "[1m]"
	}
	return s.Model
}

// class is the key of limits and pauses. They hold for a class of models (rate-limits docs).
func (s Subject) class() string {
	switch {
	case s.classKey != "":
		return s.classKey
	case s.Has(verdict.Fast):
		return claude.ModelClass(s.Model) + "+fast|"
	}
	return claude.ModelClass(s.Model) + "|"
}

// limit is the key of rate limits: a client's own credential has limits of its own.
func (s Subject) limit() string {
	if s.limitKey != "" {
		return s.limitKey
	}
	return s.class() + s.Tenant
}

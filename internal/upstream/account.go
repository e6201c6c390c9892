package upstream

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/http"
	"sync"
	"time"
)

// account is the state that the keys of one organization share: credit and rate limits. Safe for
// concurrent use. The mutex of an endpoint is locked before that of its account.
type account struct {
	cacheScope uint64 // identifies the account; never changes

	mu         sync.Mutex
	breaker    breaker            // open: no credit, a spending limit, or disabled
	rateLimits cooldowns          // cooldowns after rate limits, by Subject.limit
	budgets    map[string]*budget // remaining rate limits, by Subject.limit
	load       load
}

// workspace is what the keys of one workspace share.
type workspace struct{ cacheScope uint64 }

// accounts finds the account of an endpoint. Safe for concurrent use.
type accounts struct {
	mu         sync.Mutex
	known      map[accountKey]*account
	workspaces map[accountKey]*workspace
}

// accountKey is an organization or a workspace at an origin, or, without an origin, an account that
// the configuration names.
type accountKey struct{ origin, name string }

// byName returns the account that the configuration names.
func (a *accounts) byName(name string) *account {
	return a.findOrAdd(accountKey{name: name}, &account{cacheScope: cacheScopeOf([]byte(name))})
}

// cacheScopeOf derives the identifier of an account from its name, or from its first endpoint. It
// is the same in every process.
func cacheScopeOf(source []byte) uint64 {
	sum := sha256.Sum256(source)
	return binary.LittleEndian.Uint64(sum[:])
}

// byOrganization returns the account of an organization at an origin. The first endpoint of the
// organization contributes its own account. The same organization at two origins is two accounts.
func (a *accounts) byOrganization(origin, organization string, own *account) *account {
	return a.findOrAdd(accountKey{origin, organization}, own)
}

func (a *accounts) findOrAdd(key accountKey, own *account) *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found := a.known[key]; found != nil {
		return found
	}
	a.known[key] = own
	return own
}

// byWorkspace returns the shared state of a workspace at an origin. Its identifier comes from its
// first endpoint.
func (a *accounts) byWorkspace(origin, name string, own ID) *workspace {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := accountKey{origin, name}
	found := a.workspaces[key]
	if found == nil {
		found = &workspace{cacheScopeOf(own[:])}
		a.workspaces[key] = found
	}
	return found
}

// prune removes the accounts and workspaces that no endpoint uses.
func (a *accounts) prune(used map[*account]bool, caches map[*workspace]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.workspaces, func(_ accountKey, c *workspace) bool { return !caches[c] })
	for key, each := range a.known {
		if !used[each] {
			delete(a.known, key)
		}
	}
}

// merge adds the state of another account after both turned out to be one.
func (a *account) merge(other *account) {
	other.mu.Lock()
	from, limits := other.breaker, other.rateLimits
	other.rateLimits = nil
	other.mu.Unlock()

	a.mu.Lock()
	defer a.mu.Unlock()
	if from.openUntil.After(a.breaker.openUntil) {
		a.breaker = breaker{openings: from.openings, openUntil: from.openUntil, reason: from.reason, cause: from.cause, epoch: a.breaker.epoch + 1}
	}
	a.rateLimits.merge(limits)
}

// organizationOf returns the organization that a response names, or "" (api/errors docs).
func organizationOf(h http.Header) string { return shortID(h, "Anthropic-Organization-Id") }

// workspaceOf returns the workspace that a response names, or "" (api/errors docs).
func workspaceOf(h http.Header) string { return shortID(h, "Anthropic-Workspace-Id") }

func shortID(h http.Header, name string) string {
	const maxLength = 100 // longer names are ignored
	id := h.Get(name)
	if len(id) > maxLength {
		return ""
	}
	return id
}

// endCooldown allows the next request to try an account whose breaker is open. It reports whether
// the breaker was open.
func (a *account) endCooldown(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.breaker.endCooldown(now)
}

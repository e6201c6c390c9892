package upstream

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/http"
	"sync"
	"time"
)

// account is what keys of one organization share, wherever they are used: its
// credit and its rate limits. Safe for concurrent use. Where the mutex of an
// endpoint is held too, that one is taken first.
type account struct {
	cacheScope uint64 // names it; never changes

	mu      sync.Mutex
	out     breaker            // no credit, a spending limit, disabled
	limits  cooldowns          // rate limits by Subject.limit
	budgets map[string]*budget // what is left of them, by the same
	load    load
}

// cache is what keys of one workspace share.
type cache struct{ domain uint64 }

// accounts finds the account that an endpoint belongs to. Safe for concurrent use.
type accounts struct {
	mu    sync.Mutex
	known map[place]*account
	cache map[place]*cache
}

// place is an organization or a workspace at an origin. Without one it is an account that the configuration names.
type place struct{ origin, name string }

// named returns the account that the configuration names.
func (a *accounts) named(name string) *account {
	return a.find(place{name: name}, &account{cacheScope: cacheScopeOf([]byte(name))})
}

// cacheScopeOf derives an account's name from what first told of it, the same in every process.
func cacheScopeOf(origin []byte) uint64 {
	sum := sha256.Sum256(origin)
	return binary.LittleEndian.Uint64(sum[:])
}

// of returns the account of an organization that answers at an origin; the
// first endpoint that is heard of there brings its own. Two origins are two
// accounts even if they name one organization.
func (a *accounts) of(origin, organization string, own *account) *account {
	return a.find(place{origin, organization}, own)
}

func (a *accounts) find(key place, own *account) *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found := a.known[key]; found != nil {
		return found
	}
	a.known[key] = own
	return own
}

// cacheOf returns what keys of a workspace at an origin share; the first
// endpoint that is heard of there gives it its name.
func (a *accounts) cacheOf(origin, workspace string, own ID) *cache {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := place{origin, workspace}
	found := a.cache[key]
	if found == nil {
		found = &cache{cacheScopeOf(own[:])}
		a.cache[key] = found
	}
	return found
}

// prune forgets the accounts and caches that no endpoint has any more.
func (a *accounts) prune(used map[*account]bool, caches map[*cache]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.cache, func(_ place, c *cache) bool { return !caches[c] })
	for key, each := range a.known {
		if !used[each] {
			delete(a.known, key)
		}
	}
}

// adopt takes over what another account learned before both turned out to be one.
func (a *account) adopt(other *account) {
	other.mu.Lock()
	out, limits := other.out, other.limits
	other.limits = nil
	other.mu.Unlock()

	a.mu.Lock()
	defer a.mu.Unlock()
	if out.openUntil.After(a.out.openUntil) {
		a.out = breaker{openings: out.openings, openUntil: out.openUntil, reason: out.reason, cause: out.cause, epoch: a.out.epoch + 1}
	}
	a.limits.merge(limits)
}

// organizationOf names the organization that an answer comes from, "" when it does not tell (api/errors docs).
func organizationOf(h http.Header) string { return shortID(h, "Anthropic-Organization-Id") }

// workspaceOf names the workspace that an answer comes from, "" when it does not tell (api/errors docs).
func workspaceOf(h http.Header) string { return shortID(h, "Anthropic-Workspace-Id") }

func shortID(h http.Header, name string) string {
	const longest = 100 // of a name that is worth remembering
	id := h.Get(name)
	if len(id) > longest {
		return ""
	}
	return id
}

// recover lets an account that is out be tried by the next request, and reports whether it was.
func (a *account) recover(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.expire(now)
}

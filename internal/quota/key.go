// Package quota says who may spend what: client keys, their limits and their
// budgets.
//
// Invariants. A limit is enforced by reservation: what a request may cost is
// estimated and debited in the step that lets it through, and settled when it
// is known, so that requests that come at the same time never overshoot a limit
// by more than their estimates err. A Pass is settled exactly once. What has
// been used belongs to a key's name and outlives the configuration's generations.
package quota

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// Keyring is the client keys of one generation of the configuration. It is never changed.
type Keyring struct {
	keys map[[sha256.Size]byte]*Key
}

// Key is a client key with its limits. Safe for concurrent use.
type Key struct {
	spec    config.ClientKey
	expires time.Time
	until   time.Time // when a former secret ends; zero for the current one
	from    []netip.Prefix
	tenant  string // that owns what the key creates
	self    string // as a tenant, when it is in no group
	account *account
	book    *Book
}

// Name says whose key it is.
func (k *Key) Name() string { return k.spec.Name }

// Tenant is the owner of resources that the key creates: the key itself, or its group.
func (k *Key) Tenant() string { return k.tenant }

// Tenants lists the owners whose resources the key may use: its group, and the key itself, for resources older than its membership.
func (k *Key) Tenants() []string { return []string{k.tenant, k.self} }

// Owns reports whether the key may use what belongs to a tenant.
func (k *Key) Owns(tenant string) bool { return tenant == k.tenant || tenant == k.self }

// Find returns the key that a client has shown, nil if it is none. Keys are looked up by their hash: how long that takes tells nothing about them.
func (r *Keyring) Find(shown string) *Key {
	if shown == "" {
		return nil
	}
	return r.keys[sha256.Sum256([]byte(shown))]
}

// Refusal is why a client key does not get what it asks for.
type Refusal struct {
	Status     int
	Type       claude.ErrorType
	Message    string        // for the client
	Reason     string        // for logs, in a word or two
	RetryAfter time.Duration // 0: it is not known, or of no use
	Final      bool          // the client's library must not try again by itself
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason }

func forbidden(reason, message string) *Refusal {
	return &Refusal{Status: 403, Type: claude.ErrPermission, Reason: reason, Message: message}
}

// Admit says whether the key lets anybody in from an address, nil if it does.
func (k *Key) Admit(remote string, now time.Time) *Refusal {
	refusal := k.refusesEntry(remote, now)
	if refusal == nil && !k.until.IsZero() {
		k.noteFormer(remote, now)
	}
	return refusal
}

func (k *Key) refusesEntry(remote string, now time.Time) *Refusal {
	if k.Replaced(now) {
		return &Refusal{
			Status: 401, Type: claude.ErrAuthentication, Reason: "key replaced", Final: true,
			Message: fmt.Sprintf("This client key of %s was replaced by a new one: ask the operator who issued it for the new key.", k.Name()),
		}
	}
	if !k.expires.IsZero() && !now.Before(k.expires) {
		return forbidden("key expired", fmt.Sprintf("The client key %s has expired: ask who gave it to you for a new one.", k.Name()))
	}
	if len(k.from) == 0 {
		return nil
	}
	if ip, ok := addressOf(remote); ok {
		for _, network := range k.from {
			if network.Contains(ip) {
				return nil
			}
		}
	}
	return forbidden("address", fmt.Sprintf("The client key %s may not be used from this address.", k.Name()))
}

// Replaced reports whether the key is a former secret that has ended.
func (k *Key) Replaced(now time.Time) bool { return !k.until.IsZero() && !now.Before(k.until) }

// noteFormer logs at a limited rate that a former secret is still in use.
func (k *Key) noteFormer(remote string, now time.Time) {
	k.account.formerUsed.Store(now.Unix())
	if k.account.former.Allow(now) {
		k.book.log.Warn(telemetry.FormerKeyUsed, telemetry.Client, k.Name(), telemetry.Remote, remote, telemetry.Until, k.until.UTC().Format(time.RFC3339))
	}
}

// addressOf is the address of a connection.
func addressOf(remote string) (netip.Addr, bool) {
	if both, err := netip.ParseAddrPort(remote); err == nil {
		return both.Addr().Unmap().WithZone(""), true
	}
	ip, err := netip.ParseAddr(remote)
	return ip.Unmap().WithZone(""), err == nil
}

// PicksModels says whether the key may ask some models only. A nil key may ask all.
func (k *Key) PicksModels() bool { return k != nil && len(k.spec.Models) > 0 }

// mayAsk says whether the key may ask a model.
func (k *Key) mayAsk(model string) bool {
	if len(k.spec.Models) == 0 {
		return true
	}
	list := strings.ContainsAny(model, ",;| ") // some relays read several names in it
	for _, pattern := range k.spec.Models {
		if list && strings.ContainsAny(pattern, "*?[") {
			continue
		}
		if fits, _ := path.Match(strings.ToLower(pattern), strings.ToLower(model)); fits {
			return true
		}
	}
	return false
}

// limited says whether the key has a limit that what a batch costs would count against.
func (k *Key) limited() bool { return k.spec.TPM > 0 || k.account.budgeted(k.spec.Budget) }

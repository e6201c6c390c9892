// Package quota holds client keys, their limits and their budgets.
//
// A limit is enforced by reservation: the step that admits a request estimates and debits its cost,
// and the settlement corrects it when the cost is known. So simultaneous requests overshoot a limit
// by no more than the error of their estimates. A Reservation is settled exactly once. Usage
// belongs to a key's name and outlives generations of the configuration.
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

// Keyring is the set of client keys of one generation of the configuration. Immutable.
type Keyring struct {
	keys map[[sha256.Size]byte]*Key
}

// Key is a client key with its limits. Safe for concurrent use.
type Key struct {
	spec    config.ClientKey
	expires time.Time
	until   time.Time // end of a former secret; zero for the current one
	from    []netip.Prefix
	tenant  string // owner of what the key creates
	self    string // the key's tenant without a group
	account *account
	book    *Book
}

// Name returns the key's name.
func (k *Key) Name() string { return k.spec.Name }

// Tenant returns the owner of resources that the key creates: the key itself, or its group.
func (k *Key) Tenant() string { return k.tenant }

// Tenants lists the owners whose resources the key may use: its group, and the key itself, for
// resources from before it joined the group.
func (k *Key) Tenants() []string { return []string{k.tenant, k.self} }

// Owns reports whether the key may use what belongs to a tenant.
func (k *Key) Owns(tenant string) bool { return tenant == k.tenant || tenant == k.self }

// Find returns the key with a secret, nil if it is unknown. It looks keys up by their hash, so the
// time of a look-up reveals nothing about them.
func (r *Keyring) Find(shown string) *Key {
	if shown == "" {
		return nil
	}
	return r.keys[sha256.Sum256([]byte(shown))]
}

// Refusal is the reason why a request of a client key is not admitted.
type Refusal struct {
	Status     int
	Type       claude.ErrorType
	Message    string        // for the client
	Reason     string        // short, for logs
	RetryAfter time.Duration // 0: unknown, or useless
	Final      bool          // the client library must not retry
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason }

func forbidden(reason, message string) *Refusal {
	return &Refusal{Status: 403, Type: claude.ErrPermission, Reason: reason, Message: message}
}

// Admit returns why the key does not accept requests from an address, nil if it does.
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

// noteFormer logs, at a limited rate, that a former secret is still in use.
func (k *Key) noteFormer(remote string, now time.Time) {
	k.account.formerUsed.Store(now.Unix())
	if k.account.former.Allow(now) {
		k.book.log.Warn(telemetry.FormerKeyUsed, telemetry.Client, k.Name(), telemetry.Remote, remote, telemetry.Until, k.until.UTC().Format(time.RFC3339))
	}
}

// addressOf returns the IP address of a connection.
func addressOf(remote string) (netip.Addr, bool) {
	if both, err := netip.ParseAddrPort(remote); err == nil {
		return both.Addr().Unmap().WithZone(""), true
	}
	ip, err := netip.ParseAddr(remote)
	return ip.Unmap().WithZone(""), err == nil
}

// PicksModels reports whether the key may use only some models. A nil key may use all.
func (k *Key) PicksModels() bool { return k != nil && len(k.spec.Models) > 0 }

// mayUse reports whether the key may use a model.
func (k *Key) mayUse(model string) bool {
	if len(k.spec.Models) == 0 {
		return true
	}
	list := strings.ContainsAny(model, ",;| ") // some relays accept several names in this field
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

// isLimited reports whether the key has a limit that the cost of a batch counts against.
func (k *Key) isLimited() bool { return k.spec.TPM > 0 || k.account.hasBudget(k.spec.Budget) }

// View returns the key with its limits and their usage.
func (k *Key) View(now time.Time) KeyView { return k.view(now) }

// Zone returns the time zone of the key's days and months.
func (k *Key) Zone() *time.Location {
	k.account.mu.Lock()
	defer k.account.mu.Unlock()
	return k.account.zone
}

package fakeclaude

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Account is an organization of the API: what its keys share, wherever they arrive.
// It owns a prompt cache and the rate limits. Several servers may use one account.
// Safe for concurrent use.
type Account struct {
	name string

	mu                     sync.Mutex
	limits                 Limits
	cache                  promptCache
	files, batches, skills resourceStore
	meters                 map[string]*Meter // by model family
}

// NewAccount returns an account with an empty cache and full buckets.
func NewAccount(name string, l Limits) *Account {
	return &Account{name: name, limits: l, meters: map[string]*Meter{}}
}

// Organization is the id that answers carry in anthropic-organization-id.
func (a *Account) Organization() string {
	sum := sha256.Sum256([]byte("organization " + a.name))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// SetLimits replaces the limits; every bucket starts full again.
func (a *Account) SetLimits(l Limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = l
	clear(a.meters)
}

// Reset empties the cache and fills the buckets.
func (a *Account) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cache = promptCache{}
	a.files, a.batches, a.skills = resourceStore{}, resourceStore{}, resourceStore{}
	clear(a.meters)
}

// admit asks the cache and the rate limits about a prompt. A refused request
// leaves no trace in either.
func (a *Account) admit(model string, p *prompt, minimum int64, now time.Time) (cacheUse, *Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	use := a.cache.lookup(p, minimum, now)
	if no := a.meter(model, now).Admit(use.billedInput(), now); no != nil {
		return use, no
	}
	a.cache.refresh(p, use.hit, now)
	return use, nil
}

// begin is called when the first token of an answer goes out.
func (a *Account) begin(p *prompt, hit int, minimum int64, start, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cache.write(p, hit, minimum, start, now)
}

func (a *Account) spendOutput(model string, tokens int64, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.meter(model, now).SpendOutput(tokens, now)
}

func (a *Account) writeLimitHeaders(h http.Header, model string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.meter(model, now).WriteHeaders(h, now)
}

func (a *Account) meter(model string, now time.Time) *Meter {
	family := modelFamily(model)
	m, ok := a.meters[family]
	if !ok {
		m = NewMeter(a.limits, now)
		a.meters[family] = m
	}
	return m
}

// modelFamily names the group of models that share limits.
func modelFamily(model string) string {
	for _, family := range []string{"opus", "sonnet", "haiku", "fable", "mythos"} {
		if strings.Contains(model, family) {
			return family
		}
	}
	return "other"
}

func (a *Account) currentLimits() Limits {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limits
}

package fakeclaude

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Account is an organization of the API: the prompt cache, rate limits and resources that its keys
// share. Several servers may use one account. Safe for concurrent use.
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

// Organization returns the id that responses have in anthropic-organization-id.
func (a *Account) Organization() string {
	sum := sha256.Sum256([]byte("organization " + a.name))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// SetLimits replaces the limits and fills the buckets.
func (a *Account) SetLimits(l Limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = l
	clear(a.meters)
}

// Reset empties the cache, removes the resources and fills the buckets.
func (a *Account) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cache = promptCache{}
	a.files, a.batches, a.skills = resourceStore{}, resourceStore{}, resourceStore{}
	clear(a.meters)
}

// admit charges the rate limits for the part of a prompt that is not in the cache, and extends the
// lifetime of the part that is. A refused request changes neither.
func (a *Account) admit(model string, p *prompt, minimum int64, now time.Time) (cacheUse, *Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	use := a.cache.lookup(p, minimum, now)
	if refusal := a.meterLocked(model, now).Admit(use.billedInput(), now); refusal != nil {
		return use, refusal
	}
	a.cache.refresh(p, use.hit, now)
	return use, nil
}

// writeCache writes a prompt to the cache. It is called when the first token of the response is
// sent.
func (a *Account) writeCache(p *prompt, hit int, minimum int64, start, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cache.write(p, hit, minimum, start, now)
}

func (a *Account) spendOutput(model string, tokens int64, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.meterLocked(model, now).SpendOutput(tokens, now)
}

func (a *Account) writeLimitHeaders(h http.Header, model string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.meterLocked(model, now).WriteHeaders(h, now)
}

func (a *Account) meterLocked(model string, now time.Time) *Meter {
	family := modelFamily(model)
	m, ok := a.meters[family]
	if !ok {
		m = NewMeter(a.limits, now)
		a.meters[family] = m
	}
	return m
}

// modelFamily returns the name of the group of models that share limits with a model.
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

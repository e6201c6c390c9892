package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	maxSavedLists = 64
	maxSavedList  = 128 << 10
	maxSavedQuery = 1 << 10
	// savedListLife is how long a saved list of models may be used while no upstream responds.
	savedListLife = 24 * time.Hour
	// cachedHeader marks a saved response.
	cachedHeader = "X-Lb-Cached"
)

// modelLists keeps the last good list of models for each scope that may see a different one. Safe
// for concurrent use, bounded in memory. The zero value is empty.
type modelLists struct {
	mu    sync.Mutex
	saved map[listScope]*savedList
}

// listScope is the key of a saved list: client, credential, query, and generation of the
// configuration.
type listScope struct {
	settings *Settings
	key      *quota.Key
	tenant   string
	query    string
	headers  string
}

type savedList struct {
	at   time.Time
	body []byte
}

// find returns the saved list of a scope, or nil if it is missing or too old.
func (l *modelLists) find(scope listScope, now time.Time) *savedList {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.saved[scope]
	if list == nil || now.Sub(list.at) > savedListLife {
		return nil
	}
	return list
}

// save keeps a list. Those of earlier generations are dropped, and then the oldest.
func (l *modelLists) save(scope listScope, list *savedList) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.saved == nil {
		l.saved = map[listScope]*savedList{}
	}
	if _, known := l.saved[scope]; !known && len(l.saved) >= maxSavedLists {
		l.dropOldestLocked()
	}
	for other := range l.saved {
		if other.settings != scope.settings {
			delete(l.saved, other)
		}
	}
	l.saved[scope] = list
}

func (l *modelLists) dropOldestLocked() {
	var oldest listScope
	var at time.Time
	for scope, list := range l.saved {
		if at.IsZero() || list.at.Before(at) {
			oldest, at = scope, list.at
		}
	}
	delete(l.saved, oldest)
}

// listScope returns the scope of a request for the list of models. It returns false if the list is
// not to be saved.
func (x *exchange) listScope() (listScope, bool) {
	h, query := x.req.HTTP.Header, x.req.HTTP.URL.RawQuery
	headers := strings.Join(h.Values("Anthropic-Version"), ",") + "\n" + strings.Join(h.Values("Anthropic-Beta"), ",")
	if x.query.Subject.Path != claude.PathModels || x.req.HTTP.Method != http.MethodGet || len(query)+len(headers) > maxSavedQuery {
		return listScope{}, false
	}
	query, headers = strings.Clone(query), strings.Clone(headers) // they may point into the request's header
	return listScope{x.req.Settings, x.req.Key, x.query.Subject.Tenant, query, headers}, true
}

// savedList returns the saved list of models for the request, or nil.
func (x *exchange) savedList() *savedList {
	scope, ok := x.listScope()
	if !ok {
		return nil
	}
	return x.p.lists.find(scope, time.Now())
}

// saveList saves the list of models in a response.
func (x *exchange) saveList(a *attempt) {
	scope, ok := x.listScope()
	if ok && a.complete && a.status() == http.StatusOK && len(a.buffered) <= maxSavedList && claude.IsModelList(a.buffered) {
		x.p.lists.save(scope, &savedList{time.Now(), append([]byte(nil), a.buffered...)})
	}
}

// serveList responds with a saved list, and marks it as such.
func (x *exchange) serveList(list *savedList) {
	age := time.Since(list.at)
	x.p.log.InfoContext(x.ctx, telemetry.SavedList, telemetry.ID, x.req.ID, telemetry.Attempts, len(x.entry.Attempts), telemetry.Age, age.Round(time.Second))
	x.entry.Outcome = ledger.Answered
	h := x.client.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(list.body)))
	h.Set("Age", strconv.Itoa(int(age/time.Second)))
	h.Set(cachedHeader, "true")
	h.Set("Request-Id", x.req.ID)
	x.trace()
	x.entry.Status = http.StatusOK
	x.client.w.WriteHeader(http.StatusOK)
	x.client.write(list.body)
}

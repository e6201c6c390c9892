package routing

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

const (
	// maxOwned bounds the number of ids.
	maxOwned = 100_000
	// ownedFor is the time for which an unused batch or container is remembered: longer than it
	// lives (API reference). Files and skills live until they are deleted.
	ownedFor = 60 * 24 * time.Hour
	// useGranularity is the precision of the last use: a later use within this time is not
	// recorded.
	useGranularity = 24 * time.Hour
)

// Owners records which account keeps the resource of an id: a file, a batch, a skill, a container.
// It outlives generations. Safe for concurrent use, bounded in memory.
type Owners struct {
	mu      sync.Mutex
	byID    map[string]ownership
	changed bool // since the last Save
}

// Owner is the account that keeps a resource, and the server through which the resource was
// created. An account's number may depend on which of its servers responded first after a start.
type Owner struct {
	Domain uint64      `json:"account"`
	Server upstream.ID `json:"server"`
}

// OwnerAt returns the account of an endpoint.
func OwnerAt(e *upstream.Endpoint) Owner { return Owner{e.CacheScope(), e.ID()} }

// ownership is the owner of an id, and when the id was last used, in Unix seconds.
type ownership struct {
	Owner
	Seen int64 `json:"seen"`
}

// NewOwners returns an empty Owners.
func NewOwners() *Owners { return &Owners{byID: map[string]ownership{}} }

// lapsed reports whether the resource of an id is certainly gone. Times are Unix seconds.
func (each ownership) lapsed(id string, now int64) bool {
	mortal := strings.HasPrefix(id, "msgbatch_") || strings.HasPrefix(id, "container_")
	return mortal && each.Seen < now-int64(ownedFor/time.Second)
}

// Of returns the account that owns an id. The call counts as a use.
func (o *Owners) Of(id string, now time.Time) (k Owner, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	found, known := o.byID[id]
	if known && now.Unix()-found.Seen > int64(useGranularity/time.Second) {
		o.byID[id] = ownership{found.Owner, now.Unix()}
		o.changed = true
	}
	return found.Owner, known
}

// Learn records the account that owns ids.
func (o *Owners) Learn(k Owner, now time.Time, ids ...string) {
	if len(ids) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.byID)+len(ids) > maxOwned { // before the insertion, so that the new ids stay
		o.makeRoomLocked(len(ids), now)
	}
	for _, id := range ids {
		known := o.byID[id]
		o.changed = o.changed || known.Owner != k || now.Unix()-known.Seen > int64(useGranularity/time.Second)
		o.byID[id] = ownership{k, now.Unix()}
	}
}

// Forget drops an id that no longer exists.
func (o *Owners) Forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.byID[id]; known {
		delete(o.byID, id)
		o.changed = true
	}
}

// makeRoomLocked drops lapsed ids, then those unused for longest, until there is space for more
// than the wanted ids, so that the next call comes late.
func (o *Owners) makeRoomLocked(wanted int, now time.Time) {
	maps.DeleteFunc(o.byID, func(id string, each ownership) bool { return each.lapsed(id, now.Unix()) })
	excess := len(o.byID) - max(maxOwned*9/10-wanted, 0)
	if excess <= 0 {
		return
	}
	ages := make([]int64, 0, len(o.byID))
	for _, each := range o.byID {
		ages = append(ages, each.Seen)
	}
	slices.Sort(ages)
	last := ages[excess-1]
	maps.DeleteFunc(o.byID, func(_ string, each ownership) bool {
		drop := excess > 0 && each.Seen <= last
		if drop {
			excess--
		}
		return drop
	})
}

// Changed reports whether there is something to save.
func (o *Owners) Changed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

// savedOwners is the format of the file.
type savedOwners struct {
	Version int                  `json:"version"`
	Owners  map[string]ownership `json:"owners"`
}

const ownersVersion = 1

// Save writes all ids, which then count as saved. A caller that fails to keep them calls Unsaved.
func (o *Owners) Save(w io.Writer) error {
	o.mu.Lock()
	saved := savedOwners{ownersVersion, maps.Clone(o.byID)}
	o.changed = false
	o.mu.Unlock()
	return json.NewEncoder(w).Encode(saved)
}

// Unsaved reports that the output of Save is lost.
func (o *Owners) Unsaved() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changed = true
}

// Load adds ids that Save has written. On an error it adds nothing.
func (o *Owners) Load(r io.Reader, now time.Time) error {
	var saved savedOwners
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&saved); err != nil || saved.Version != ownersVersion {
		return ErrSnapshot
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, each := range saved.Owners {
		if !each.lapsed(id, now.Unix()) && len(id) <= maxSavedName {
			o.byID[id] = each
		}
	}
	if len(o.byID) > maxOwned {
		o.makeRoomLocked(0, now)
	}
	return nil
}

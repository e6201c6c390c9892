package routing

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

const (
	// maxOwned bounds the ids that are remembered.
	maxOwned = 100_000
	// ownedFor is how long an id is remembered that nobody asks for: longer than batches and containers live (API reference).
	ownedFor = 60 * 24 * time.Hour
)

// Owners remembers which account keeps what stands behind an id: a file, a
// batch, a skill, a container. It outlives generations. Safe for concurrent use,
// bounded in memory.
type Owners struct {
	mu      sync.Mutex
	byID    map[string]owner
	changed bool // since the last Save
}

// owner is an account, and when it was last asked for what it owns, in Unix seconds.
type owner struct {
	Domain uint64 `json:"account"`
	Seen   int64  `json:"seen"`
}

// NewOwners returns one that knows nothing.
func NewOwners() *Owners { return &Owners{byID: map[string]owner{}} }

// Of returns the account that owns an id.
func (o *Owners) Of(id string) (domain uint64, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	found, known := o.byID[id]
	return found.Domain, known
}

// Learn notes the account that owns ids.
func (o *Owners) Learn(domain uint64, now time.Time, ids ...string) {
	if len(ids) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		o.changed = o.changed || o.byID[id].Domain != domain
		o.byID[id] = owner{domain, now.Unix()}
	}
	o.makeRoom(now)
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

// makeRoom drops what nobody has asked for in a long time, and an arbitrary part when that is not enough.
func (o *Owners) makeRoom(now time.Time) {
	if len(o.byID) <= maxOwned {
		return
	}
	oldest := now.Add(-ownedFor).Unix()
	for id, each := range o.byID {
		if each.Seen < oldest {
			delete(o.byID, id)
		}
	}
	for id := range o.byID {
		if len(o.byID) <= maxOwned*9/10 {
			return
		}
		delete(o.byID, id)
	}
}

// Changed reports whether there is something to save.
func (o *Owners) Changed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

// savedOwners is the form of the file.
type savedOwners struct {
	Version int              `json:"version"`
	Owners  map[string]owner `json:"owners"`
}

const ownersVersion = 1

// Save writes what is known.
func (o *Owners) Save(w io.Writer) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := json.NewEncoder(w).Encode(savedOwners{ownersVersion, o.byID}); err != nil {
		return err
	}
	o.changed = false
	return nil
}

// Load adds what Save has written. On an error nothing is added.
func (o *Owners) Load(r io.Reader, now time.Time) error {
	var saved savedOwners
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&saved); err != nil || saved.Version != ownersVersion {
		return ErrSnapshot
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	oldest := now.Add(-ownedFor).Unix()
	for id, each := range saved.Owners {
		if each.Seen >= oldest && len(id) <= maxSavedName {
			o.byID[id] = each
		}
	}
	o.makeRoom(now)
	return nil
}

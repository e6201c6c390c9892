package quota

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxResources bounds the ids that are remembered, of all tenants together.
	maxResources = 100_000
	// resourceLife is how long a batch or a container is remembered that nobody asks for: longer
	// than it lives (API reference). Files and skills live until they are deleted.
	resourceLife = 60 * 24 * time.Hour
	// useNoted is how much later an id must be used again for that to be saved.
	useNoted = 24 * time.Hour
	// longestID bounds what is read from a file.
	longestID = 256
)

// ErrResources reports that a saved state is not one of Resources.
var ErrResources = errors.New("not a state of resources that this version can read")

// Resources remembers which tenant, a client key or a group of them, created what stands behind an
// id: a file, a batch, a skill, a container. It outlives generations. Safe for concurrent use,
// bounded in memory; when it is full the tenant with the most ids gives up its oldest ones.
type Resources struct {
	mu      sync.Mutex
	owner   map[string]string           // tenant by id
	used    map[string]map[string]int64 // when each id was used last, in Unix seconds, by tenant
	changed bool                        // since the last Save
}

// NewResources returns one that knows nothing.
func NewResources() *Resources {
	return &Resources{owner: map[string]string{}, used: map[string]map[string]int64{}}
}

// Owner returns the tenant that an id belongs to.
func (r *Resources) Owner(id string) (tenant string, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tenant, known = r.owner[id]
	return tenant, known
}

// Use notes that an id was used by one who may.
func (r *Resources) Use(id string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if tenant, known := r.owner[id]; known && now.Unix()-r.used[tenant][id] > int64(useNoted/time.Second) {
		r.used[tenant][id] = now.Unix()
		r.changed = true
	}
}

// Claim notes that a tenant has created ids.
func (r *Resources) Claim(tenant string, now time.Time, ids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if r.owner[id] != tenant {
			r.putLocked(tenant, id, now)
		}
	}
}

// ClaimUnowned notes those of the ids that belong to nobody yet.
func (r *Resources) ClaimUnowned(tenant string, now time.Time, ids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if _, known := r.owner[id]; !known {
			r.putLocked(tenant, id, now)
		}
	}
}

func (r *Resources) putLocked(tenant, id string, now time.Time) {
	r.dropLocked(id)
	if len(r.owner) >= maxResources {
		r.makeRoomLocked(now)
	}
	r.addLocked(tenant, id, now.Unix())
	r.changed = true
}

func (r *Resources) addLocked(tenant, id string, used int64) {
	if r.used[tenant] == nil {
		r.used[tenant] = map[string]int64{}
	}
	r.owner[id], r.used[tenant][id] = tenant, used
}

func (r *Resources) dropLocked(id string) {
	tenant, known := r.owner[id]
	if !known {
		return
	}
	delete(r.owner, id)
	delete(r.used[tenant], id)
	if len(r.used[tenant]) == 0 {
		delete(r.used, tenant)
	}
}

// Forget drops an id that no longer exists.
func (r *Resources) Forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.owner[id]; known {
		r.dropLocked(id)
		r.changed = true
	}
}

// Count is how many ids with a prefix tenants have.
func (r *Resources) Count(prefix string, tenants ...string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tenant := range slices.Compact(tenants) {
		for id := range r.used[tenant] {
			if strings.HasPrefix(id, prefix) {
				n++
			}
		}
	}
	return n
}

// HasOthers reports whether anything belongs to another tenant than these.
func (r *Resources) HasOthers(tenants ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for tenant := range r.used {
		if !slices.Contains(tenants, tenant) {
			return true
		}
	}
	return false
}

// lapsed reports whether what an id stands for is gone for certain. Times are Unix seconds.
func lapsed(id string, used, now int64) bool {
	mortal := strings.HasPrefix(id, "msgbatch_") || strings.HasPrefix(id, "container_")
	return mortal && used < now-int64(resourceLife/time.Second)
}

// makeRoomLocked drops what is gone, and then oldest ids of the tenants with the most, so that it is not needed again at once.
func (r *Resources) makeRoomLocked(now time.Time) {
	for tenant, ids := range r.used {
		for id, used := range ids {
			if lapsed(id, used, now.Unix()) {
				r.dropLocked(id)
			}
		}
		if len(ids) == 0 {
			delete(r.used, tenant)
		}
	}
	for len(r.owner) > maxResources*9/10 {
		largest := ""
		for tenant, ids := range r.used {
			if len(ids) > len(r.used[largest]) {
				largest = tenant
			}
		}
		ids := r.used[largest]
		oldest := slices.SortedFunc(maps.Keys(ids), func(a, b string) int { return cmp.Compare(ids[a], ids[b]) })
		for _, id := range oldest[:len(oldest)/10+1] {
			r.dropLocked(id)
		}
	}
}

// Changed reports whether there is something to save.
func (r *Resources) Changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// savedResources is the form of the file.
type savedResources struct {
	Version int                         `json:"version"`
	Tenants map[string]map[string]int64 `json:"tenants"`
}

const resourcesVersion = 1

// Save writes what is known, which then counts as saved: a caller that could not keep it says so with Unsaved.
func (r *Resources) Save(w io.Writer) error {
	r.mu.Lock()
	saved := savedResources{resourcesVersion, make(map[string]map[string]int64, len(r.used))}
	for tenant, ids := range r.used {
		saved.Tenants[tenant] = maps.Clone(ids)
	}
	r.changed = false
	r.mu.Unlock()
	return json.NewEncoder(w).Encode(saved)
}

// Unsaved says that what Save has written is lost.
func (r *Resources) Unsaved() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = true
}

// Load adds what Save has written. On an error nothing is added.
func (r *Resources) Load(in io.Reader, now time.Time) error {
	var saved savedResources
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&saved); err != nil || saved.Version != resourcesVersion {
		return ErrResources
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for tenant, ids := range saved.Tenants {
		for id, used := range ids {
			if !lapsed(id, used, now.Unix()) && len(id) <= longestID && len(r.owner) < maxResources {
				r.dropLocked(id)
				r.addLocked(tenant, id, used)
			}
		}
	}
	return nil
}

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
	// resourceLife is how long an unused batch or container is remembered: longer than it
	// exists (API reference). Files and skills live until they are deleted.
	resourceLife = 60 * 24 * time.Hour
	// useGranularity is the resolution of the saved time of use.
	useGranularity = 24 * time.Hour
	// longestID bounds what is read from a file.
	longestID = 256
)

// ErrResources reports a file that is not a saved state of Resources, or one of a newer version.
var ErrResources = errors.New("not a state of resources that this version can read")

// Resources maps the id of a file, batch, skill or container to the tenant that created it, which
// is a client key or a group of keys. It outlives generations. Safe for concurrent use, bounded in
// memory: when it is full, the oldest ids of the tenant with the most are dropped.
type Resources struct {
	mu      sync.Mutex
	owner   map[string]string           // tenant by id
	used    map[string]map[string]int64 // when each id was used last, in Unix seconds, by tenant
	changed bool                        // since the last Save
}

// NewResources returns an empty Resources.
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

// Use records that a tenant with access used an id.
func (r *Resources) Use(id string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if tenant, known := r.owner[id]; known && now.Unix()-r.used[tenant][id] > int64(useGranularity/time.Second) {
		r.used[tenant][id] = now.Unix()
		r.changed = true
	}
}

// Claim records that a tenant created ids.
func (r *Resources) Claim(tenant string, now time.Time, ids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if r.owner[id] != tenant {
			r.putLocked(tenant, id, now)
		}
	}
}

// ClaimUnowned claims those of the ids that have no owner yet.
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

// Count returns how many ids with a prefix the tenants own.
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

// HasOthers reports whether any other tenant owns an id.
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

// lapsed reports whether the resource with an id certainly no longer exists. Times are Unix seconds.
func lapsed(id string, used, now int64) bool {
	mortal := strings.HasPrefix(id, "msgbatch_") || strings.HasPrefix(id, "container_")
	return mortal && used < now-int64(resourceLife/time.Second)
}

// makeRoomLocked drops lapsed ids, and then the oldest ids of the tenants with the most. It drops
// enough not to run again at once.
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

// savedResources is the format of the file.
type savedResources struct {
	Version int                         `json:"version"`
	Tenants map[string]map[string]int64 `json:"tenants"`
}

const resourcesVersion = 1

// Save writes the state, which then counts as saved. A caller that could not store it must call
// Unsaved.
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

// Unsaved reports that the output of Save was lost.
func (r *Resources) Unsaved() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = true
}

// Load adds a saved state. On an error it adds nothing.
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

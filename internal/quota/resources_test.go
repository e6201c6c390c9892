package quota

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestResources(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	r := NewResources()
	f := func(r *Resources, id, want string) {
		t.Helper()
		if got, known := r.Owner(id); got != want || known != (want != "") {
			t.Errorf("%s: %q, %t, want %q", id, got, known, want)
		}
	}
	f(r, "file_1", "")
	r.Claim("key ann", now, "file_1", "file_2", "msgbatch_1")
	r.ClaimUnowned("key bob", now, "file_1", "file_3")
	f(r, "file_1", "key ann")
	f(r, "file_3", "key bob")
	if r.HasOthers("key ann", "key bob") || !r.HasOthers("key ann") {
		t.Error("others are not told apart")
	}
	r.Claim("key bob", now, "file_2") // another account gave out the same id
	f(r, "file_2", "key bob")
	r.Claim("key old", now.Add(-resourceLife-time.Hour), "container_1", "file_4")
	if a, b := r.Count("file_", "key ann"), r.Count("file_", "key bob"); a != 1 || b != 2 {
		t.Errorf("%d and %d files", a, b)
	}
	var saved bytes.Buffer
	if err := r.Save(&saved); err != nil || r.Changed() {
		t.Fatal(err, r.Changed())
	}
	if r.Use("file_1", now.Add(time.Hour)); r.Changed() {
		t.Error("saved again within a day")
	}
	if r.Use("file_1", now.Add(48*time.Hour)); !r.Changed() {
		t.Error("a use is not saved")
	}
	restored := NewResources()
	if err := restored.Load(bytes.NewReader(saved.Bytes()), now); err != nil || restored.Changed() {
		t.Fatal(err)
	}
	f(restored, "file_1", "key ann")
	f(restored, "file_2", "key bob")
	f(restored, "msgbatch_1", "key ann")
	f(restored, "file_4", "key old")
	f(restored, "container_1", "") // its lifetime is over
	restored.Forget("file_1")
	f(restored, "file_1", "")
	if restored.Forget("file_1"); !restored.Changed() {
		t.Error("nothing to save")
	}
}

func FuzzLoadResources(f *testing.F) {
	for _, text := range []string{"", "{", `{"version":2,"tenants":{}}`, `{"version":1,"tenants":{},"more":1}`, `{"version":1,"tenants":{"key ann":{"file_1":1.5}}}`, `{"version":1,"tenants":{"key ann":{"file_1":1}}}`, "\x00\x01"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := NewResources()
		if err := r.Load(bytes.NewReader(text), time.Now()); err != nil {
			if !errors.Is(err, ErrResources) || len(r.owner) > 0 {
				t.Errorf("%q: %v, %d ids", text, err, len(r.owner))
			}
			return
		}
		for tenant, ids := range r.used {
			for id := range ids {
				if r.owner[id] != tenant {
					t.Errorf("%q belongs to %q and %q", id, r.owner[id], tenant)
				}
			}
		}
	})
}

// TestAFloodTakesNothingFromOthers checks that the tenant with the most ids loses its own.
func TestAFloodTakesNothingFromOthers(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	r := NewResources()
	r.Claim("key ann", now, "file_of_ann")
	for i := range maxResources + 15_000 {
		r.Claim("key bob", now.Add(time.Duration(i)*time.Second), fmt.Sprint("file_", i))
	}
	if n := len(r.owner); n > maxResources {
		t.Errorf("%d ids", n)
	}
	if _, known := r.Owner("file_of_ann"); !known {
		t.Error("ann's file is forgotten")
	}
	if _, known := r.Owner(fmt.Sprint("file_", maxResources+14_999)); !known {
		t.Error("the latest is forgotten")
	}
}

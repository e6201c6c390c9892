package routing

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

func TestOwners(t *testing.T) {
	o := NewOwners()
	f := func(o *Owners, id string, want uint64, known bool) {
		t.Helper()
		if got, ok := o.Of(id, t0); got.Domain != want || ok != known {
			t.Errorf("%s: %v, %t", id, got, ok)
		}
	}
	f(o, "file_1", 0, false)
	server := Owner{Domain: 7, Server: upstream.ID{1, 2, 15: 255}}
	o.Learn(server, t0, "file_1", "msgbatch_1")
	o.Learn(Owner{Domain: 8}, t0.Add(-ownedFor-time.Hour), "container_2", "file_2")
	f(o, "file_1", 7, true)
	if !o.Changed() {
		t.Error("nothing to save")
	}
	var saved bytes.Buffer
	if err := o.Save(&saved); err != nil || o.Changed() {
		t.Fatal(err, o.Changed())
	}
	restored := NewOwners()
	if err := restored.Load(bytes.NewReader(saved.Bytes()), t0); err != nil {
		t.Fatal(err)
	}
	if k, _ := restored.Of("file_1", t0); k != server {
		t.Errorf("%v, want %v", k, server)
	}
	f(restored, "msgbatch_1", 7, true)
	f(restored, "container_2", 0, false) // its lifetime is over
	f(restored, "file_2", 8, true)
	o.Forget("file_1")
	f(o, "file_1", 0, false)
	for _, bad := range []string{"", "{", `{"version":2,"owners":{}}`, `{"version":1,"owners":{},"more":1}`,
		`{"version":1,"owners":{"file_1":{"account":7,"server":"00","seen":1}}}`, "\x00\x01"} {
		if err := NewOwners().Load(strings.NewReader(bad), t0); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for i := range maxOwned + 1 {
		o.Learn(Owner{Domain: 1}, t0, fmt.Sprint("file_", i))
	}
	if n := len(o.byID); n > maxOwned {
		t.Errorf("%d ids", n)
	}
}

func TestWhatIsUsedIsKept(t *testing.T) {
	o := NewOwners()
	o.Learn(Owner{Domain: 7}, t0, "container_1", "container_2")
	save := func() []byte {
		t.Helper()
		var saved bytes.Buffer
		if err := o.Save(&saved); err != nil {
			t.Fatal(err)
		}
		return saved.Bytes()
	}
	save()
	if o.Of("container_1", t0.Add(time.Hour)); o.Changed() {
		t.Error("saved again within a day")
	}
	o.Of("container_1", t0.Add(ownedFor-time.Hour))
	if !o.Changed() {
		t.Error("a use is not saved")
	}
	restored := NewOwners()
	if err := restored.Load(bytes.NewReader(save()), t0.Add(ownedFor+time.Hour)); err != nil {
		t.Fatal(err)
	}
	_, used := restored.Of("container_1", t0)
	_, unused := restored.Of("container_2", t0)
	if !used || unused {
		t.Errorf("the one that is used is known: %t, the other one: %t", used, unused)
	}
	if o.Unsaved(); !o.Changed() {
		t.Error("what could not be kept counts as saved")
	}
}

func TestTheOldestMakeRoom(t *testing.T) {
	o := NewOwners()
	for i := range maxOwned {
		o.Learn(Owner{Domain: 1}, t0.Add(time.Duration(i)*time.Second), fmt.Sprint("file_", i))
	}
	o.Learn(Owner{Domain: 2}, t0, "file_new", "file_newer")
	f := func(id string, want bool) {
		t.Helper()
		if _, known := o.Of(id, t0); known != want {
			t.Errorf("%s is known: %t", id, known)
		}
	}
	f("file_0", false)
	f("file_new", true)
	f("file_newer", true)
	f(fmt.Sprint("file_", maxOwned-1), true)
	if n := len(o.byID); n > maxOwned*9/10 {
		t.Errorf("%d ids", n)
	}
}

// TestOnlyTheOwnerWillDo checks that only the owner's endpoints are used, regardless of algorithm,
// tier and state.
func TestOnlyTheOwnerWillDo(t *testing.T) {
	tb := table(t, config.ModeFallback, named(t, "a", "b", "c")...)
	b := tb.Endpoints()[1].CacheScope()
	pinned := func(patience time.Duration) *Query { return &Query{Account: &b, Patience: patience} }
	if got := claimed(t, tb, pinned(0), &Tried{}, t0); got != "b" {
		t.Errorf("%s", got)
	}
	settle(t, tb, "b", limited, t0) // for 10 seconds
	_, err := acquire(tb, pinned(time.Minute), &Tried{}, t0)
	if wait, ok := errors.AsType[*Wait](err); !ok || wait.Until.Sub(t0) != 10*time.Second {
		t.Errorf("%v", err)
	}
	var tried Tried
	if got := claimed(t, tb, pinned(0), &tried, t0); got != "b" { // if no other way is left
		t.Errorf("%s", got)
	}
	if _, err := acquire(tb, pinned(0), &tried, t0); err == nil {
		t.Error("another account was asked")
	}
	nobody := uint64(1)
	_, err = acquire(tb, &Query{Account: &nobody}, &Tried{}, t0)
	if _, ok := errors.AsType[*Unavailable](err); !ok {
		t.Errorf("%v", err)
	}
	if n := len(tb.Accounts()); n != 3 {
		t.Errorf("%d accounts", n)
	}
}

// TestListsComeFromOneServer checks that pages of a list come from the same server while it is
// available, with any algorithm.
func TestListsComeFromOneServer(t *testing.T) {
	f := func(tb *Table, want string) {
		t.Helper()
		for range 3 {
			if got := claimed(t, tb, &Query{InOrder: true}, &Tried{}, t0); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			claimed(t, tb, &Query{}, &Tried{}, t0)
		}
	}
	for _, a := range []config.Algorithm{config.RoundRobin, config.WeightedRoundRobin, config.Random, config.CostAware} {
		tb := tableBy(t, config.ModeLoadBalance, a, named(t, "a", "b", "c")...)
		f(tb, "a")
		settle(t, tb, "a", limited, t0)
		f(tb, "b")
	}
}

// TestAnAccountIsFoundUnderAnotherName checks that an account is found by its server if its number
// has changed.
func TestAnAccountIsFoundUnderAnotherName(t *testing.T) {
	tb := table(t, config.ModeFallback, named(t, "a", "b")...)
	a, b := OwnerAt(tb.Endpoints()[0]), OwnerAt(tb.Endpoints()[1])
	f := func(k Owner, want uint64, wantOK bool) {
		t.Helper()
		if got, ok := tb.AccountOf(k); got != want || ok != wantOK {
			t.Errorf("%v: %d, %t", k, got, ok)
		}
	}
	f(a, a.Domain, true)
	f(Owner{Domain: 1, Server: b.Server}, b.Domain, true)
	f(Owner{Domain: b.Domain}, b.Domain, true) // its server has another key now
	f(Owner{Domain: 1}, 1, false)
}

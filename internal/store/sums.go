package store

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// slot is the key of one line of the hourly or daily sums.
type slot struct {
	n                     int64 // hours or days since 1970
	client, model, server string
}

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// tally is what entries add to the sums, by hour.
type tally map[slot]*ledger.Sums

// unknownModels bounds the number of model names in the sums that no upstream has served, because
// clients may request any name and sums are kept for years. One goroutine uses it.
type unknownModels struct {
	hour int64
	seen map[string]bool
}

const (
	// maxUnknown is the number of such names per hour with separate sums.
	maxUnknown = 100
	// otherModels is the name for the sums of all others.
	otherModels = "(other)"
)

// modelOf returns the model under which an entry counts.
func (s *unknownModels) modelOf(e *ledger.Entry, hour int64) string {
	model := text(e.Model)
	if a := e.Final(); a != nil && a.Known() || model == "" {
		return model
	}
	if s.hour != hour || s.seen == nil {
		s.hour, s.seen = hour, map[string]bool{}
	}
	if len(s.seen) >= maxUnknown && !s.seen[model] {
		return otherModels
	}
	s.seen[model] = true
	return model
}

func (t tally) add(e *ledger.Entry, s *unknownModels) {
	n := e.Start.Unix() / int64(hour/time.Second)
	at := slot{n: n, client: text(e.Client), model: s.modelOf(e, n)}
	asked := at.model
	var sums *ledger.Sums
	for place, share := range e.Shares() {
		server, model := text(place.Server), asked
		if place.Model != e.Model {
			model = text(place.Model)
		}
		if sums == nil || server != at.server || model != at.model { // the usual case is one server and one model
			at.server, at.model = server, model
			sums = t.at(at)
		}
		sums.Add(share)
	}
}

// at returns the sums of a slot.
func (t tally) at(s slot) *ledger.Sums {
	sums := t[s]
	if sums == nil {
		sums = new(ledger.Sums)
		t[s] = sums
	}
	return sums
}

// days returns the same sums by day.
func (t tally) days() tally {
	out := tally{}
	for at, sums := range t {
		at.n /= int64(day / hour)
		out.at(at).Add(*sums)
	}
	return out
}

// sorted returns the slots in a fixed order, so that two writers never deadlock.
func (t tally) sorted() []slot {
	return slices.SortedFunc(maps.Keys(t), func(a, b slot) int {
		return cmp.Or(cmp.Compare(a.n, b.n), cmp.Compare(a.client, b.client), cmp.Compare(a.model, b.model), cmp.Compare(a.server, b.server))
	})
}

// sumNames joins the columns of sums, each formatted by pattern.
func sumNames(separator string, pattern func(name string) string) string {
	var names []string
	for _, f := range new(ledger.Sums).Fields() {
		names = append(names, pattern(`"`+f.Name+`"`))
	}
	return strings.Join(names, separator)
}

func same(name string) string { return name }

// sumWidth is the number of columns in a table of sums.
const sumWidth = 4 + ledger.Figures

// prepareAddition parses the statements that add to a table of sums.
func (s *Store) prepareAddition(ctx context.Context, table string) (*insertion, error) {
	return s.prepareInsertion(ctx, `INSERT INTO `+table+` (slot, client, model, server, `+sumNames(", ", same)+`) VALUES `,
		` ON CONFLICT (slot, client, model, server) DO UPDATE SET `+
			sumNames(", ", func(name string) string { return name + " = " + table + "." + name + " + excluded." + name }),
		sumWidth, 16, 4, 1)
}

// addTo adds a tally to a table of sums.
func (t tally) addTo(ctx context.Context, tx *sql.Tx, table *insertion) error {
	slots := t.sorted()
	return table.exec(ctx, tx, len(slots), func(out []any, i int) []any {
		at := slots[i]
		out = append(out, at.n, at.client, at.model, at.server)
		for _, f := range t[at].Fields() {
			out = append(out, *f.Value)
		}
		return out
	})
}

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

// slot is one line of the hourly or daily sums.
type slot struct {
	n                     int64 // hours or days since 1970
	client, model, server string
}

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// tally is what some entries add to the sums, hour by hour.
type tally map[slot]*ledger.Sums

// unknownModels bounds the names of models in the sums that nobody has answered to: clients may ask for anything, and
// sums are kept for years. One goroutine owns it.
type unknownModels struct {
	hour int64
	seen map[string]bool
}

const (
	// mostStrangers is how many such names get sums of their own in an hour.
	mostStrangers = 100
	// otherModels is the name under which the rest is summed up.
	otherModels = "(other)"
)

// modelOf is the model to count an entry under.
func (s *unknownModels) modelOf(e *ledger.Entry, hour int64) string {
	model := text(e.Model)
	if a := e.Final(); a != nil && a.Known() || model == "" {
		return model
	}
	if s.hour != hour || s.seen == nil {
		s.hour, s.seen = hour, map[string]bool{}
	}
	if len(s.seen) >= mostStrangers && !s.seen[model] {
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
		if sums == nil || server != at.server || model != at.model { // mostly it is one server and one model
			at.server, at.model = server, model
			sums = t.at(at)
		}
		sums.Add(share)
	}
}

// at are the sums of a slot.
func (t tally) at(s slot) *ledger.Sums {
	sums := t[s]
	if sums == nil {
		sums = new(ledger.Sums)
		t[s] = sums
	}
	return sums
}

// days is the same by the day.
func (t tally) days() tally {
	out := tally{}
	for at, sums := range t {
		at.n /= int64(day / hour)
		out.at(at).Add(*sums)
	}
	return out
}

// sorted lists the slots in one order for all, so that two writers never wait for each other crosswise.
func (t tally) sorted() []slot {
	return slices.SortedFunc(maps.Keys(t), func(a, b slot) int {
		return cmp.Or(cmp.Compare(a.n, b.n), cmp.Compare(a.client, b.client), cmp.Compare(a.model, b.model), cmp.Compare(a.server, b.server))
	})
}

// sumNames lists the columns of sums, each as pattern makes it of the name.
func sumNames(separator string, pattern func(name string) string) string {
	var names []string
	for _, f := range new(ledger.Sums).Fields() {
		names = append(names, pattern(`"`+f.Name+`"`))
	}
	return strings.Join(names, separator)
}

func same(name string) string { return name }

// sumWidth is how many columns a line of sums has.
const sumWidth = 4 + ledger.Figures

// prepareAddition parses the statements that add to lines of a table of sums.
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

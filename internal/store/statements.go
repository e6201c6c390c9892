package store

import (
	"fmt"
	"math/bits"
	"strings"
	"sync"
)

const (
	// chunk and crumb are how many lines a statement inserts, where there are as many.
	chunk, crumb = 25, 5
	// mostForms is how many statements there are at most for a chunk of a table.
	mostForms = 16
)

// statements are those that every batch is written by, the way the database wants them.
type statements struct {
	batch              string
	requests, attempts *insertion
	hourly, daily      string
}

func (d *dialect) newStatements() statements {
	return statements{
		batch:    d.rebind(`INSERT INTO batches (id, time) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`),
		requests: d.newInsertion("requests", requestColumns),
		attempts: d.newInsertion("attempts", attemptColumns),
		hourly:   d.rebind(addition("hourly")),
		daily:    d.rebind(addition("daily")),
	}
}

// columns is a set of a table's columns, by their places.
type columns uint64

func (c columns) has(place int) bool { return c>>place&1 != 0 }

// insertion makes the statements that insert lines into a table. What is the same in all lines of a chunk is handed to
// the database once: most of what inserting costs is handing over values. Safe for concurrent use.
type insertion struct {
	*dialect
	table   string
	columns []string

	crumb, one string // for a few lines, and for one

	mu    sync.Mutex
	forms map[columns]string // for a chunk, by the columns that each line has a value of its own for
}

func (d *dialect) newInsertion(table, names string) *insertion {
	i := &insertion{dialect: d, table: table, columns: strings.Fields(strings.ReplaceAll(names, ",", " "))}
	i.crumb, i.one = i.statement(i.all(), crumb), i.statement(i.all(), 1)
	i.forms = map[columns]string{i.all(): i.statement(i.all(), chunk)}
	return i
}

func (i *insertion) all() columns { return 1<<len(i.columns) - 1 }

// form is the statement for a chunk whose lines differ in some columns, and those that it wants a value per line for: there
// are not many forms, so that these may be more.
func (i *insertion) form(differ columns) (columns, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if known, ok := i.forms[differ]; ok {
		return differ, known
	}
	if len(i.forms) < mostForms {
		i.forms[differ] = i.statement(differ, chunk)
		return differ, i.forms[differ]
	}
	best := i.all()
	for each := range i.forms {
		if each&differ == differ && bits.OnesCount64(uint64(each)) < bits.OnesCount64(uint64(best)) {
			best = each
		}
	}
	return best, i.forms[best]
}

// statement inserts so many lines. Its parameters are the values that all of them share, in the order of the columns, and
// then line by line the own ones.
func (i *insertion) statement(own columns, lines int) string {
	var shared, names []string
	for place, name := range i.columns {
		if own.has(place) {
			names = append(names, name)
		} else {
			shared = append(shared, name)
		}
	}
	names = append(shared, names...)
	var out strings.Builder
	fmt.Fprintf(&out, "INSERT INTO %s (%s) VALUES ", i.table, strings.Join(names, ", "))
	next := len(shared)
	for line := range lines {
		for place := range names {
			separator := ", "
			if place == 0 {
				separator = strings.Repeat(", ", min(line, 1)) + "("
			}
			out.WriteString(separator)
			if place < len(shared) {
				out.WriteString(i.again(place + 1))
			} else {
				next++
				out.WriteString(i.parameter(next))
			}
		}
		out.WriteString(")")
	}
	return out.String()
}

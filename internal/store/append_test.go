package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"claude-code-lb/internal/ledger"
)

// TestWhatLinesShareComesBackInAll writes so many entries that they are inserted by chunks, in which now these columns are the
// same in all lines and now those: more combinations than there are forms of a statement.
func TestWhatLinesShareComesBackInAll(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		random := rand.New(rand.NewPCG(1, 2))
		var want []ledger.Entry
		ids := newNumbering()
		for n := range 3 * mostForms {
			var entries []ledger.Entry
			vary := func() bool { return random.IntN(40) == 0 }
			model, client := fmt.Sprint("model-", n), "ann"
			for range 2*chunk + 2*crumb + n%crumb {
				e := sample(noon.Add(time.Duration(len(want)+len(entries)) * time.Second))
				e.ID, e.Model, e.Client = fmt.Sprint("req_lb_", len(want)+len(entries)), model, client
				if vary() {
					e.Client, e.Agent = "bob", ""
				}
				if vary() {
					e.Stream, e.Prompt = false, nil
				}
				if vary() {
					e.Reason = "a reason"
				}
				if vary() {
					e.Waited = 0
				}
				if vary() {
					e.Session = ""
				}
				if vary() {
					e.Attempts = e.Attempts[1:]
				}
				if vary() {
					e.Attempts = nil
				}
				if len(e.Attempts) > 0 && vary() {
					e.Attempts[0].Cost.Sum, e.Attempts[0].Warm, e.Attempts[0].Server = 5, 7, "south"
				}
				entries = append(entries, e)
			}
			if err := s.append(t.Context(), batchOf(ids, entries...)); err != nil {
				t.Fatal(err)
			}
			want = append(want, entries...)
		}
		if got := all(t, s); !cmp.Equal(want, got) {
			t.Error(cmp.Diff(want, got))
		}
		if known := len(s.statements.requests.forms); known != mostForms {
			t.Errorf("%d forms of a statement", known)
		}
	})
}

func TestInsertionForms(t *testing.T) {
	f := func(d dialect, own columns, lines int, want string) {
		t.Helper()
		if got := d.newInsertion("t", "a, b,\n\tc").statement(own, lines); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	f(dialect{}, 0b111, 1, "INSERT INTO t (a, b, c) VALUES (?, ?, ?)")
	f(dialect{}, 0b101, 2, "INSERT INTO t (b, a, c) VALUES (?1, ?, ?), (?1, ?, ?)")
	f(dialect{numbered: true}, 0b101, 2, "INSERT INTO t (b, a, c) VALUES ($1, $2, $3), ($1, $4, $5)")
	f(dialect{}, 0, 2, "INSERT INTO t (a, b, c) VALUES (?1, ?2, ?3), (?1, ?2, ?3)")

	i := (&dialect{}).newInsertion("t", "a, b, c, d, e, f")
	for n := range columns(2 * mostForms) {
		own, _ := i.form(n)
		if own&n != n {
			t.Errorf("%b lacks columns of %b", own, n)
		}
	}
	if own, _ := i.form(0b000100); own == i.all() {
		t.Error("the form that comes next is good enough")
	}
	if len(i.forms) != mostForms {
		t.Errorf("%d forms", len(i.forms))
	}
}

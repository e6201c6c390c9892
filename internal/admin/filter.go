package admin

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// filter selects decisions by the parameters of a query.
type filter struct {
	conditions []func(*Decision) bool
	limit      int // 0: no limit
}

// textParameters maps the parameters that compare text to the values of a decision.
func textParameters() map[string]func(*ledger.Entry) []string {
	return map[string]func(*ledger.Entry) []string{
		"id":      func(e *ledger.Entry) []string { return []string{e.ID} },
		"client":  func(e *ledger.Entry) []string { return []string{e.Client} },
		"session": func(e *ledger.Entry) []string { return []string{e.Session} },
		"model":   func(e *ledger.Entry) []string { return []string{e.Model} },
		"path":    func(e *ledger.Entry) []string { return []string{e.Path, claude.ShortenIDs(e.Path)} },
		"outcome": func(e *ledger.Entry) []string { return []string{string(e.Outcome)} },
		"routed":  func(e *ledger.Entry) []string { return []string{string(e.Routed)} },
		"status":  func(e *ledger.Entry) []string { return []string{strconv.Itoa(e.Status)} },
		"server":  serversOf,
	}
}

// serversOf returns the servers of all attempts.
func serversOf(e *ledger.Entry) []string {
	var names []string
	for i := range e.Attempts {
		names = append(names, e.Attempts[i].Server)
	}
	return names
}

// parseFilter parses the parameters of a query. A repeated parameter matches any of its values.
func parseFilter(query url.Values) (filter, *problem) {
	var f filter
	known := textParameters()
	if refusal := checkParameters(query, append(slices.Collect(maps.Keys(known)), "limit")...); refusal != nil {
		return f, refusal
	}
	for name, values := range query {
		if name == "limit" {
			n, err := strconv.Atoi(values[0])
			if err != nil || n < 1 || len(values) > 1 {
				return f, newProblem(http.StatusBadRequest, "invalid_request", "The parameter limit must be a single whole number of at least 1.")
			}
			f.limit = n
			continue
		}
		if refusal := checkValues(name, values); refusal != nil {
			return f, refusal
		}
		f.conditions = append(f.conditions, func(d *Decision) bool {
			return slices.ContainsFunc(known[name](&d.Entry), func(v string) bool { return slices.Contains(values, v) })
		})
	}
	return f, nil
}

// checkValues rejects values that no decision can have.
func checkValues(name string, values []string) *problem {
	allowed := map[string][]string{
		"outcome": {string(ledger.Answered), string(ledger.Failed), string(ledger.Truncated), string(ledger.ClientGone), string(ledger.Refused)},
		"routed":  {string(ledger.Warm), string(ledger.Placed), string(ledger.Pinned)},
	}[name]
	for _, v := range values {
		if _, err := strconv.Atoi(v); name == "status" && err != nil {
			return newProblem(http.StatusBadRequest, "invalid_request", "The parameter status must be a number such as 529.")
		}
		if allowed != nil && !slices.Contains(allowed, v) {
			return newProblem(http.StatusBadRequest, "invalid_request", fmt.Sprintf("The parameter %s must be one of %s.", name, strings.Join(allowed, ", ")))
		}
	}
	return nil
}

func (f *filter) matches(d *Decision) bool {
	return !slices.ContainsFunc(f.conditions, func(fits func(*Decision) bool) bool { return !fits(d) })
}

// checkParameters rejects a query with an unknown parameter, because ignoring it would return
// something else than the caller asked for.
func checkParameters(query url.Values, known ...string) *problem {
	slices.Sort(known)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if slices.Contains(known, name) {
			continue
		}
		what := "none"
		if len(known) > 0 {
			what = strings.Join(known, ", ")
		}
		return newProblem(http.StatusBadRequest, "invalid_request", fmt.Sprintf("The parameter %.40q is not known here. Known: %s.", name, what))
	}
	return nil
}

// withoutParameters rejects requests with parameters for a route that has none.
func withoutParameters(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if refusal := checkParameters(r.URL.Query()); refusal != nil {
			refusal.write(w)
			return
		}
		serve(w, r)
	}
}

func (h *Handler) decisions(w http.ResponseWriter, r *http.Request) {
	f, refusal := parseFilter(r.URL.Query())
	if refusal != nil {
		refusal.write(w)
		return
	}
	list := []decision{}
	for _, d := range h.Decisions() {
		if f.limit > 0 && len(list) == f.limit {
			break
		}
		if f.matches(&d) {
			list = append(list, decisionOf(d))
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"decisions": list})
}

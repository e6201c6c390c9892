package member

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/report"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

const (
	maxLogPage     = 100
	defaultLogPage = 50
	// maxHours bounds a report by hour.
	maxHours = 31 * 24 * time.Hour
)

// checkParameters rejects unknown parameters, because ignoring one would return something else than
// the caller asked for.
func checkParameters(query url.Values, known ...string) *problem {
	for name := range query {
		if !slices.Contains(known, name) {
			return invalid(fmt.Sprintf("The parameter %.40q is not known here.", name))
		}
	}
	return nil
}

// report sums up the key's requests.
func (c call) report(w http.ResponseWriter, r *http.Request) *problem {
	if p := c.needsKey(); p != nil {
		return p
	}
	query := r.URL.Query()
	if p := checkParameters(query, "by", "since", "until", "tz", "model"); p != nil {
		return p
	}
	q, err := report.Params{
		By: cmp.Or(query.Get("by"), "day"), Since: query.Get("since"), Until: query.Get("until"),
		Zone: cmp.Or(query.Get("tz"), c.Key.Zone().String()), Key: c.Client, Model: query.Get("model"),
	}.Question(c.now)
	if err != nil {
		return invalid("The parameter " + err.Error() + ".")
	}
	if p := c.confine(&q); p != nil {
		return p
	}
	var lines []store.Line
	err = c.query(r.Context(), func(ctx context.Context, s *store.Store) (err error) {
		lines, err = s.Report(ctx, q)
		return err
	})
	if err != nil {
		return ledgerProblem(err)
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodHead {
		_ = report.Write(w, "json", q, lines) // the client has left
	}
	return nil
}

// confine limits a question to the key's own sums. Sums of whole hours exist by key; single rows
// are those of all keys, so a report of parts of an hour would read what is not the member's.
func (c *call) confine(q *store.Question) *problem {
	switch {
	case slices.Contains(q.By, store.Key) || slices.Contains(q.By, store.Session):
		return invalid("The parameter by must be some of day, hour and model, or total: all requests here are those of one key.")
	case slices.Contains(q.By, store.Upstream) && !c.ShowServers:
		return &problem{http.StatusForbidden, claude.ErrPermission, "Names of servers are not shown here, unless the operator sets me_shows_servers."}
	case slices.Contains(q.By, store.Hour) && q.Until.Sub(q.Since) > maxHours:
		return invalid("A report by hour covers at most 31 days: set since and until.")
	}
	q.Since = q.Since.UTC().Truncate(time.Hour)
	if until := q.Until.UTC().Truncate(time.Hour); until.Before(q.Until) {
		q.Until = until.Add(time.Hour)
	}
	q.Only[store.Key] = c.Client
	return nil
}

// log returns a page of the key's requests, the newest first.
func (c call) log(w http.ResponseWriter, r *http.Request) *problem {
	if p := c.needsKey(); p != nil {
		return p
	}
	query := r.URL.Query()
	if p := checkParameters(query, "before", "limit", "session"); p != nil {
		return p
	}
	before, limit := int64(0), defaultLogPage
	var err error
	if v := query.Get("before"); v != "" {
		if before, err = strconv.ParseInt(v, 10, 64); err != nil || before < 1 {
			return invalid("The parameter before must be the value of next in a previous response.")
		}
	}
	if v := query.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 {
			return invalid("The parameter limit must be a whole number of at least 1.")
		}
	}
	page, err := c.requests(r.Context(), store.LogFilter{Session: query.Get("session")}, before, min(limit, maxLogPage))
	if err != nil {
		return ledgerProblem(err)
	}
	out := map[string]any{"requests": c.requestViews(page), "partial": page.Partial}
	if page.Next > 0 {
		out["next"] = strconv.FormatInt(page.Next, 10)
	}
	return writeJSON(w, r, out)
}

// ledgerProblem hides the database's own words, which may name its address.
func ledgerProblem(err error) *problem {
	if ledgerState(err) == "off" {
		return &problem{http.StatusNotFound, claude.ErrNotFound, "This balancer keeps no ledger, so there is no history."}
	}
	return &problem{http.StatusServiceUnavailable, claude.ErrAPI, "The ledger cannot be read at the moment: try again in a minute."}
}

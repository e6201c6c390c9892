package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// quickAnswer is how long an upstream may take to count tokens or list models while another one
	// could be tried. Claude Code waits 3 s for the list, and estimates tokens itself if they are
	// not counted.
	quickAnswer = 1500 * time.Millisecond
	// lastQuickAnswer is the same limit for the last upstream that is left.
	lastQuickAnswer = 3 * time.Second
	// savedListAfter is the time after which the saved list of models is served although upstreams
	// are left to try.
	savedListAfter = 2500 * time.Millisecond
	// perMegabyte is added for every megabyte of the body, which has to be sent and counted.
	perMegabyte = time.Second
)

// isSide reports whether the request is for another path than /v1/messages. Its failures prove
// nothing about messages.
func (x *exchange) isSide() bool { return x.query.Subject.Path != claude.PathMessages }

// isQuick reports whether the request needs a fast response or none: its client has a fallback.
func (x *exchange) isQuick() bool {
	path := x.query.Subject.Path
	return path == claude.PathCountTokens || path == claude.PathModels && x.req.HTTP.Method == http.MethodGet
}

// quickLimit returns the time limit for an attempt of a quick request.
func (x *exchange) quickLimit(lease *upstream.Lease, now time.Time) time.Duration {
	limit := lastQuickAnswer
	if lease.IsForced() || len(x.entry.Attempts)+1 < x.mostAttempts() && x.req.Table.OtherFit(&x.query, &x.attempts.tried, now) {
		limit = quickAnswer
	}
	limit += time.Duration(x.req.Body.Len()>>20) * perMegabyte
	if most := x.req.Settings.NonStreaming; most > 0 {
		limit = min(limit, most)
	}
	if x.savedList() != nil {
		limit = max(min(limit, savedListAfter-now.Sub(x.admittedAt)), 100*time.Millisecond)
	}
	return limit
}

// savedListDue reports whether the saved list of models is to be served now.
func (x *exchange) savedListDue(now time.Time) bool {
	return x.isQuick() && now.Sub(x.admittedAt) >= savedListAfter && x.savedList() != nil
}

// refuseQuick responds to a quick request when no upstream has, so that its client can go on: with
// the saved list of models, or for count_tokens with 404, on which Claude Code estimates. It
// returns false for a refusal of the request itself, such as that of a client's own key, which is
// passed on instead.
func (x *exchange) refuseQuick() bool {
	if !x.isQuick() || slices.ContainsFunc(x.attempts.failed, (*attempt).endsQuick) {
		return false
	}
	if list := x.savedList(); list != nil {
		x.serveList(list)
		return true
	}
	if x.query.Subject.Path != claude.PathCountTokens {
		return false
	}
	x.p.log.InfoContext(x.ctx, telemetry.NoUpstream, telemetry.ID, x.req.ID, telemetry.Attempts, len(x.entry.Attempts), telemetry.Path, x.entry.Path)
	x.entry.Outcome = ledger.Answered
	x.trace()
	x.sendError(false, http.StatusNotFound, 0, claude.Error{
		Type:    claude.ErrNotFound,
		Message: "No upstream counted the tokens of this request (" + strconv.Itoa(len(x.entry.Attempts)) + " tried): estimate them, or try again later.",
	})
	return true
}

// endsQuick reports whether the response of a failed attempt is sent to the client of a quick
// request: it concerns the client's own key or account. What may be peculiar to the upstream, such
// as a failure behind a relay, is not sent.
func (a *attempt) endsQuick() bool {
	if !a.refused() || a.claimed == nil {
		return false
	}
	switch a.res.StatusCode {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden:
		return true
	}
	return a.outcome.Cause == verdict.CauseNoCredit
}

// keepQuick saves a good response that may be reused.
func (x *exchange) keepQuick(a *attempt) {
	if x.isQuick() && x.query.Subject.Path == claude.PathModels && a.outcome.Scope == verdict.ScopeNone {
		x.saveList(a)
	}
}

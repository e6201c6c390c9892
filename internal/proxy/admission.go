package proxy

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// admit has the client key's limits let the request through, waiting for a slot where they have one. When it reports false the
// client has been answered, or has left.
func (x *exchange) admit() bool {
	x.admittedAt = x.req.Start
	if x.req.Book == nil {
		x.req.Body.releaseText()
		return true
	}
	begin := time.Now()
	ask := x.quotaDemand(begin)
	x.req.Body.releaseText() // nothing after this reads it, and the wait for a slot may be long
	ask.Until = begin.Add(x.queueTime())
	pass, err := x.req.Book.Enter(x.ctx, x.req.Key, ask)
	waited := time.Since(begin)
	x.entry.Waited += waited
	x.admittedAt = x.admittedAt.Add(waited)
	x.reservation = pass
	refusal, refused := errors.AsType[*quota.Refusal](err)
	switch {
	case err == nil:
		return true
	case refused:
		x.refuse(refusal)
	case x.ctx.Err() != nil:
		x.abort()
	default:
		x.refuse(&quota.Refusal{
			Status: http.StatusTooManyRequests, Type: claude.ErrRateLimit, Reason: "queue time-out", RetryAfter: shortRetryAfter,
			Message: "No slot became free in time for this client key: try again in a moment.",
		})
	}
	return false
}

// queueTime is how long to wait for a slot: as long as a client waits for an answer to begin.
func (x *exchange) queueTime() time.Duration {
	const usual = 4 * time.Minute
	if total := x.req.Settings.Total; total > 0 {
		return max(total-time.Since(x.req.Start), 0)
	}
	return usual
}

// quotaDemand tells what the request may use.
func (x *exchange) quotaDemand(now time.Time) quota.Demand {
	ask := quota.Demand{Counted: x.req.HTTP.Method == http.MethodPost, Model: x.entry.Model, Session: x.entry.Session + "\x00" + x.entry.Agent, Unreadable: x.req.Body.unreadable(), Seat: x.req.Seat}
	r := x.req.HTTP
	switch {
	case r.Method == http.MethodGet, r.Method == http.MethodHead, r.Method == http.MethodOptions, r.Method == http.MethodDelete:
	case r.Method == http.MethodPost && x.pin.isResource && x.pin.resource.Batch:
		ask.Batch, ask.Unclear = true, x.req.Upload != nil
		if x.req.Key.PicksModels() && !ask.Unclear {
			models, clear := claude.BatchModels(x.req.Body.bytes())
			ask.Models, ask.Open, ask.Unclear = models.Further, models.Open, !clear
		}
	case r.Method == http.MethodPost && (r.URL.Path == messagesPath || r.URL.Path == countPath):
		if body := x.req.Body.bytes(); x.req.Key.PicksModels() || x.req.Key != nil && namesFurtherModels(body) {
			models, clear := claude.RequestModels(body)
			ask.Models, ask.Open, ask.Unclear = models.Further, models.Open, !clear
		}
		if r.URL.Path == countPath { // it costs nothing
			break
		}
		ask.Message, ask.Output = true, x.query.MaxTokens
		ask.Input, ask.Cached = x.req.Table.Forecast(&x.query, now)
		if ask.Input == 0 {
			ask.Input = x.tokens()
		}
		if prices := x.req.Settings.Prices; prices != nil {
			ask.Price = func(u claude.Usage) ledger.Cost { return x.atMost(prices, ask.Models, u) }
		}
	case x.pin.isResource:
	default:
		ask.Unknown = true
		if x.req.Key.PicksModels() && ask.Model != "" {
			models, clear := claude.RequestModels(x.req.Body.bytes())
			ask.Models, ask.Open, ask.Unclear = models.Further, models.Open, !clear
		}
	}
	return ask
}

// namesFurtherModels reports whether a body may name a second model. It only avoids parsing the whole body: a model that it
// misses makes the estimate too low, and is charged when the response reports it.
func namesFurtherModels(body []byte) bool {
	return bytes.Contains(body, []byte(`"fallbacks"`)) || bytes.Contains(body, []byte(`"advisor_`))
}

// atMost is the highest cost of a usage over all models of the request and all servers.
func (x *exchange) atMost(prices *ledger.Prices, further []string, u claude.Usage) ledger.Cost {
	multiplier := x.req.Table.MaxPrice()
	u = x.asked(u)
	most := prices.AtMost(x.entry.Model, u, multiplier)
	for _, model := range further {
		if other := prices.AtMost(model, u, multiplier); other.Sum > most.Sum {
			most = other
		}
	}
	return most
}

// refuse answers a request that the client key's limits do not let through.
func (x *exchange) refuse(r *quota.Refusal) {
	x.entry.Outcome, x.entry.Reason = ledger.Refused, r.Reason
	x.p.log.InfoContext(x.ctx, telemetry.Refused, telemetry.ID, x.req.ID, telemetry.Client, x.entry.Client, telemetry.Status, r.Status, telemetry.Reason, r.Reason)
	e := claude.Error{Type: r.Type, Message: r.Message, RequestID: x.req.ID}
	if x.keepalive.end() {
		x.tell(e)
		return
	}
	if r.Final {
		x.w.Header().Set("X-Should-Retry", "false") // the SDKs would try again by themselves
	}
	x.entry.Status = WriteError(x.w, r.Status, r.RetryAfter, e)
}

// Note tells the recorders of a request that never came to be served.
func (p *Proxy) Note(e ledger.Entry) {
	for _, r := range p.recorders {
		r.Record(e)
	}
}

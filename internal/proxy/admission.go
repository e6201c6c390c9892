package proxy

import (
	"bytes"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// slotPatience is how long to wait for a slot: as long as a client waits for a response to begin.
func (x *exchange) slotPatience() time.Duration {
	patience := x.req.Settings.patience()
	if x.req.Settings.Total > 0 {
		patience = max(patience-time.Since(x.req.Start), 0)
	}
	return patience
}

// quotaDemand returns what the request may use.
func (x *exchange) quotaDemand(now time.Time) quota.Demand {
	demand := quota.Demand{Counted: x.req.HTTP.Method == http.MethodPost, Model: x.entry.Model, Session: x.entry.Session + "\x00" + x.entry.Agent, Unreadable: x.req.Body.unreadable(), Seat: x.req.Seat}
	r := x.req.HTTP
	switch {
	case r.Method == http.MethodGet, r.Method == http.MethodHead, r.Method == http.MethodOptions, r.Method == http.MethodDelete:
	case r.Method == http.MethodPost && x.pin.isResource && x.pin.resource.Batch:
		demand.Batch, demand.Unclear = true, x.req.Upload != nil
		if x.req.Key.PicksModels() && !demand.Unclear {
			models, clear := claude.BatchModels(x.req.Body.bytes())
			demand.Models, demand.Open, demand.Unclear = models.Others, models.DefaultFallback, !clear
		}
	case r.Method == http.MethodPost && (r.URL.Path == claude.MessagesPath || r.URL.Path == claude.TokenCountPath):
		if body := x.req.Body.bytes(); x.req.Key.PicksModels() || x.req.Key != nil && namesFurtherModels(body) {
			models, clear := claude.RequestModels(body)
			demand.Models, demand.Open, demand.Unclear = models.Others, models.DefaultFallback, !clear
		}
		if r.URL.Path == claude.TokenCountPath { // it costs nothing
			break
		}
		demand.Message, demand.Output = true, x.query.MaxTokens
		demand.Input, demand.Cached = x.req.Table.Forecast(&x.query, now)
		if demand.Input == 0 {
			demand.Input = x.tokens()
		}
		if prices := x.req.Settings.Prices; prices != nil {
			demand.Price = func(u claude.Usage) ledger.Cost { return x.atMost(prices, demand.Models, u) }
		}
	case x.pin.isResource:
	default:
		demand.Unknown = true
		if x.req.Key.PicksModels() && demand.Model != "" {
			models, clear := claude.RequestModels(x.req.Body.bytes())
			demand.Models, demand.Open, demand.Unclear = models.Others, models.DefaultFallback, !clear
		}
	}
	return demand
}

// namesFurtherModels reports whether a body may name a second model. It avoids parsing the whole
// body of most requests. If it misses a model, the estimate is too low, and the model is charged
// when the response reports it.
func namesFurtherModels(body []byte) bool {
	return bytes.Contains(body, []byte(`"fallbacks"`)) || bytes.Contains(body, []byte(`"advisor_`))
}

// atMost returns the highest cost of a usage over all models of the request and all servers.
func (x *exchange) atMost(prices *ledger.Prices, further []string, u claude.Usage) ledger.Cost {
	multiplier := x.req.Table.MaxPrice()
	u = x.withRequested(u)
	most := prices.UpperBound(x.entry.Model, u, multiplier)
	for _, model := range further {
		if other := prices.UpperBound(model, u, multiplier); other.Sum > most.Sum {
			most = other
		}
	}
	return most
}

// refuse ends a request that the limits of the client key do not allow.
func (x *exchange) refuse(r *quota.Refusal) {
	x.entry.Outcome, x.entry.Reason = ledger.Refused, r.Reason
	x.p.log.InfoContext(x.ctx, telemetry.Refused, telemetry.ID, x.req.ID, telemetry.Client, x.entry.Client, telemetry.Status, r.Status, telemetry.Reason, r.Reason)
	opened := x.keepalive.end()
	if r.Final && !opened {
		x.preventRetry()
	}
	x.sendError(opened, r.Status, r.RetryAfter, claude.Error{Type: r.Type, Message: r.Message})
}

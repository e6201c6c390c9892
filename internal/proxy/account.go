package proxy

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// recordUsage records the usage that an attempt's response has reported so far, completed by
// estimates, and its cost.
func (x *exchange) recordUsage(a *attempt) {
	note := &x.entry.Attempts[a.place]
	note.Duration, note.Answer = time.Since(a.start), a.message
	guess := note.EstimatedInput
	if guess == 0 {
		guess = x.entry.Sent / 4
	}
	if x.isUnreadable(a, note) {
		note.Answer.Started, note.Answer.Content, note.Answer.EstimatedOutput = true, true, x.client.written.Load()/4
	}
	u, estimated := note.Answer.CompletedUsage(guess)
	bill := note.Answer.Bill(u)
	note.Answer.Usage, note.Estimated, note.Extra = bill.Usage, estimated, nil
	if len(bill.Calls) > 1 { // the usage counts the prompt several times, so its size is unknown
		note.EstimatedInput = 0
	}
	if note.Known() && x.req.Settings.Prices != nil {
		x.price(a, note, &bill)
	}
	x.batch.note(note)
}

// isUnreadable reports whether the client got a response to a message that we could not read,
// because it is too large or in an unknown form. The upstream bills it all the same.
func (x *exchange) isUnreadable(a *attempt, note *ledger.Attempt) bool {
	return note.Served && !a.message.Started && a.message.Err == nil && a.claimed == nil && note.Status == http.StatusOK &&
		x.req.HTTP.Method == http.MethodPost && x.req.HTTP.URL.Path == claude.MessagesPath
}

// withRequested fills fields of a usage that the response does not report from the request.
func (x *exchange) withRequested(u claude.Usage) claude.Usage {
	if u.Speed == "" {
		u.Speed = x.speed
	}
	if u.InferenceGeo == "" {
		u.InferenceGeo = x.geo
	}
	return u
}

// price sets the cost of the part of an attempt's response that has arrived. Output that did not
// reach the client counts as wasted, and so do cache writes of a prefix that another account had in
// its cache.
func (x *exchange) price(a *attempt, note *ledger.Attempt, bill *claude.Bill) {
	prices, multiplier := x.req.Settings.Prices, a.lease.Price()
	model := a.message.Model
	if model == "" {
		model = x.entry.Model
	}
	bill.Usage = x.withRequested(bill.Usage)
	note.Answer.Usage = bill.Usage
	note.Cost, note.Extra = prices.Bill(model, bill, multiplier)
	switch elsewhere := note.MaxExpectedCached - bill.Usage.CacheReadTokens; {
	case !note.Served && x.ctx.Err() == nil:
		note.Cost.Wasted = note.Cost.Sum
	case note.MaxExpectedCached > note.ExpectedCached && elsewhere > 0:
		note.Cost.Wasted = prices.Rewritten(model, bill.Usage, elsewhere, multiplier)
	}
}

package proxy

import (
	"net/http"
	"time"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/ledger"
)

// account notes what an attempt's answer has reported so far, completed by estimates, and what that costs.
func (x *exchange) account(a *answer) {
	note := &x.entry.Attempts[a.place]
	note.Duration, note.Answer = time.Since(a.start), a.message
	guess := note.Guess
	if guess == 0 {
		guess = x.entry.Sent / 4
	}
	if x.unreadable(a, note) {
		note.Answer.Started, note.Answer.Content, note.Answer.Streamed = true, true, x.entry.Bytes/4
	}
	u, estimated := note.Answer.Settled(guess)
	bill := note.Answer.Bill(u)
	note.Answer.Usage, note.Estimated, note.Extra = bill.Usage, estimated, nil
	if len(bill.Calls) > 1 { // the prompt is in the usage several times, which says nothing of its size
		note.Guess = 0
	}
	if note.Known() && x.req.Settings.Prices != nil {
		x.price(a, note, bill)
	}
	x.batch.note(note)
}

// unreadable reports whether the client got an answer to a message that could not be read: it is too large, or in words that
// are not known. It has been billed all the same.
func (x *exchange) unreadable(a *answer, note *ledger.Attempt) bool {
	return note.Served && !a.message.Started && a.message.Err == nil && a.claimed == nil && note.Status == http.StatusOK &&
		x.req.HTTP.Method == http.MethodPost && x.req.HTTP.URL.Path == messagesPath
}

// asked completes a usage by what the request asked for and the answer does not report.
func (x *exchange) asked(u claude.Usage) claude.Usage {
	if u.Speed == "" {
		u.Speed = x.speed
	}
	if u.InferenceGeo == "" {
		u.InferenceGeo = x.geo
	}
	return u
}

// price sets what an attempt costs as far as its answer has come. What did not reach the client was wasted, and so was
// writing again what another account had in its cache.
func (x *exchange) price(a *answer, note *ledger.Attempt, bill claude.Bill) {
	prices, multiplier := x.req.Settings.Prices, a.lease.Price()
	model := a.message.Model
	if model == "" {
		model = x.entry.Model
	}
	bill.Usage = x.asked(bill.Usage)
	note.Answer.Usage = bill.Usage
	note.Cost, note.Extra = prices.Bill(model, bill, multiplier)
	switch elsewhere := note.Warmest - bill.Usage.CacheReadTokens; {
	case !note.Served && x.ctx.Err() == nil:
		note.Cost.Wasted = note.Cost.Sum
	case note.Warmest > note.Warm && elsewhere > 0:
		note.Cost.Wasted = prices.Rewritten(model, bill.Usage, elsewhere, multiplier)
	}
}

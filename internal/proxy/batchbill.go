package proxy

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/routing"
)

// batchBill prices the results of a batch while they are relayed. A batch is charged once, to the
// client that is the first to fetch all of its results.
type batchBill struct {
	results    claude.BatchResults
	prices     *ledger.Prices
	multiplier float64
	extra      []ledger.Extra // by model
	cost       ledger.Cost
	estimated  bool
	complete   bool // all results have arrived
}

// maxBatchModels bounds how many models of one batch are priced separately.
const maxBatchModels = 32

// maxBatchCost bounds the cost of one batch: a million dollars.
const maxBatchCost ledger.Money = 1e15

// newBatchBill returns nil unless the response has the results of a batch that has not been
// charged.
func (x *exchange) newBatchBill(a *attempt) *batchBill {
	prices, h := x.req.Settings.Prices, a.res.Header
	if prices == nil || x.req.HTTP.Method != http.MethodGet || a.res.StatusCode != http.StatusOK || h.Get("Content-Encoding") != "" {
		return nil
	}
	if !strings.HasPrefix(x.pin.resource.ID, "msgbatch_") || !strings.HasSuffix(x.req.HTTP.URL.Path, "/results") {
		return nil
	}
	if _, charged := x.p.Owners.Of(x.chargedName(), time.Now()); charged {
		return nil
	}
	b := &batchBill{prices: prices, multiplier: a.lease.Price(), cost: ledger.Cost{Known: true}}
	b.results.OnMessage = func(m *claude.Message) {
		b.add(m)
		x.claimResult(a, m.ResourceIDs)
	}
	return b
}

// chargedName is the key under which the index of owners, which survives a restart, records that a
// batch was charged.
func (x *exchange) chargedName() string { return x.pin.resource.ID + "/results" }

func (b *batchBill) feed(p []byte) {
	if b != nil {
		b.results.Feed(p)
	}
}

// add prices one result.
func (b *batchBill) add(m *claude.Message) {
	u, estimated := m.CompletedUsage(0)
	u.ServiceTier = cmp.Or(u.ServiceTier, "batch")
	b.estimated = b.estimated || estimated
	bill := m.Bill(u)
	cost, extra := b.prices.Bill(m.Model, &bill, b.multiplier)
	if b.cost.Sum > maxBatchCost {
		return // no batch costs so much: the figures are wrong, and must not make sums overflow
	}
	b.cost.Sum += cost.Sum
	b.cost.Saved += cost.Saved
	b.cost.Unpriced = cmp.Or(b.cost.Unpriced, cost.Unpriced)
	for _, each := range extra {
		cost.Sum -= each.Sum
		b.use(each.Model, each.Usage, each.Sum)
	}
	b.use(m.Model, bill.Usage, cost.Sum)
}

func (b *batchBill) use(model string, u claude.Usage, sum ledger.Money) {
	for i := range b.extra {
		if each := &b.extra[i]; each.Model == model || i == maxBatchModels-1 {
			each.Usage, each.Sum = each.Usage.Plus(u), each.Sum+sum
			return
		}
	}
	b.extra = append(b.extra, ledger.Extra{Type: ledger.BatchResult, Model: model, Usage: u, Sum: sum})
}

// endBatchBill records that the batch is charged, so that fetching it again is free.
func (x *exchange) endBatchBill(a *attempt) {
	b := x.batch
	if b == nil {
		return
	}
	b.results.End()
	if _, charged := x.p.Owners.Of(x.chargedName(), time.Now()); charged { // another client was charged meanwhile
		return
	}
	b.complete = true
	b.estimated = b.estimated || b.results.Skipped > 0
	b.cost.Known = b.cost.Unpriced == ""
	x.p.Owners.Learn(routing.OwnerAt(a.lease.Endpoint), time.Now(), x.chargedName())
}

// note adds the results to the attempt that fetched them.
func (b *batchBill) note(to *ledger.Attempt) {
	if b == nil || !b.complete || len(b.extra) == 0 {
		return
	}
	to.Answer = claude.Message{Started: true, Delta: true}
	to.Extra, to.Cost, to.Estimated = b.extra, b.cost, b.estimated
}

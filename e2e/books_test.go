package e2e

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// usageSum is the usage that responses have reported.
type usageSum struct {
	Attempts                                int64
	Input, Output, CacheRead, CacheCreation int64
}

func (t *usageSum) add(u claude.Usage) {
	t.Input += u.InputTokens
	t.Output += u.OutputTokens
	t.CacheRead += u.CacheReadTokens
	t.CacheCreation += u.CacheCreationTokens()
}

// addAll adds all model calls of a response. For one that broke off, it estimates the received part.
func (t *usageSum) addAll(m *claude.Message) {
	u, _ := m.CompletedUsage(0)
	bill := m.Bill(u)
	t.add(bill.Usage)
	for _, each := range bill.Extra {
		t.add(each.Usage)
	}
}

// usage returns what the site has reported in all of its responses, complete or not, whether a
// client received them or not.
func (s *site) usage() usageSum {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := usageSum{Attempts: s.Stats().Requests}
	for _, answer := range s.sent {
		answer.mu.Lock()
		text := answer.text.Bytes()
		if m, plain := claude.ParseMessage(text); plain {
			sum.addAll(&m)
		} else {
			var m claude.Message
			var events claude.EventScanner
			events.Feed(text, m.Observe)
			sum.addAll(&m)
		}
		answer.mu.Unlock()
	}
	return sum
}

// accountableFaults are those after which both sides know what was sent: a reset may overtake
// earlier bytes.
func accountableFaults() []fault.Rule {
	type f = fault.Fault
	moment := map[string]string{"Retry-After-Ms": "50"}
	before := []f{
		{Kind: fault.Status, Status: 429, Headers: moment}, {Kind: fault.Status, Status: 529, Headers: moment}, status(500),
		{Kind: fault.HTML}, {Kind: fault.Empty},
	} // without those that close the connection: a request over a kept connection is repeated, which is not an attempt
	inside := []f{
		{Kind: fault.Error, Type: "api_error", At: fault.AtMessageStart}, {Kind: fault.Close, At: fault.AtMessageStart},
		{Kind: fault.End, At: fault.AtMessageStart}, {Kind: fault.Stall, At: fault.AtMessageStart},
	}
	late := []f{
		{Kind: fault.End, At: fault.AtFirstBlock}, {Kind: fault.End, At: fault.AtMessageDelta},
		{Kind: fault.Error, Type: "api_error", At: fault.AtMidText}, {Kind: fault.Close, At: fault.AtBlockStart},
		{Kind: fault.Stall, At: fault.AtMidText},
	}
	return slices.Concat(
		rehearse(true, 0.2, before), rehearse(true, 0.15, inside), rehearse(true, 0.25, late),
		rehearse(false, 0.2, before), rehearse(false, 0.2, []f{{Kind: fault.End, At: fault.AtMidText}, {Kind: fault.Malformed}}),
	)
}

// TestTheBooksAgree runs many clients that meet failures of every kind, before and after the
// commit, and leave in the middle of responses. Then ledger and metrics contain every token that an
// upstream has reported, once, and agree on the cost to the nano-dollar.
func TestTheBooksAgree(t *testing.T) {
	t.Parallel()
	ledgers(t, func(t *testing.T, cfg object) object {
		var sites []*site
		var entries []object
		for i, name := range []string{"east", "north", "west"} {
			f := newSite(t, name, func(o *fakeclaude.Options) {
				o.Seed, o.MinOutput, o.MaxOutput = uint64(i), 8, 14
				// Shapes for which no count is estimated from the size of the request.
				o.Usage = slices.DeleteFunc(fakeclaude.UsageShapes(), func(s fakeclaude.UsageShape) bool { return s == fakeclaude.UsageNone || s == fakeclaude.UsageZeros })
			})
			if i > 0 {
				f.SetFaults(accountableFaults()...)
			}
			sites, entries = append(sites, f), append(entries, f.entry())
		}
		for name, value := range balanced("round_robin", entries...).with("cooldown", "50ms").with("slow_start", 0).with("max_wait", "1s").
			with("breaker", object{"consecutive": 100, "percent": 100}).with("timeouts", object{"response_header": "2s", "idle": "2s"}) {
			cfg[name] = value
		}
		b := start(t, cfg)
		var asked atomic.Int64
		crowd := func(rounds int, ask func(session, round int)) {
			var wg sync.WaitGroup
			for n := range 30 {
				wg.Go(func() {
					for i := range rounds {
						asked.Add(1)
						ask(n, i)
					}
				})
			}
			wg.Wait()
		}
		crowd(8, func(session, round int) { b.askPatiently(t, session, round) })
		for _, s := range sites { // nothing is sent after the event at which the clients leave
			s.SetFaults(rehearse(true, 1, []fault.Fault{{Kind: fault.Stall, At: fault.AtMidText}})...)
		}
		crowd(1, func(int, int) { b.open(t).leave() })
		for _, s := range sites {
			if err := s.WaitIdle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r := reported(t, b.file, asked.Load(), "-by", "upstream")
		booked := map[string]usageSum{}
		for _, row := range r.Rows {
			booked[row.Upstream] = usageSum{row.Attempts, row.Input, row.Output, row.CacheRead, row.CacheCreation}
		}
		for _, s := range sites {
			if want := s.usage(); booked[s.name] != want {
				t.Errorf("%s: the ledger has %+v, reported were %+v", s.name, booked[s.name], want)
			}
		}
		b.awaitRecords()
		measured, cost := b.measured()
		if diff := cmp.Diff(booked, measured); diff != "" {
			t.Errorf("the ledger and the metrics: %s", diff)
		}
		if r.Total.Cost.String() != strconv.FormatFloat(math.Round(cost*1e9)/1e9, 'f', -1, 64) {
			t.Errorf("the ledger has a cost of %s, the metrics of %.9f", r.Total.Cost, cost)
		}
		if r.Total.Requests != asked.Load() || r.Total.Attempts <= r.Total.Requests {
			t.Errorf("%d requests with %d attempts, asked were %d", r.Total.Requests, r.Total.Attempts, asked.Load())
		}
		return cfg
	})
}

// measured returns the same usage from the metrics, by server, and the total cost in dollars.
func (b *balancer) measured() (map[string]usageSum, float64) {
	b.t.Helper()
	sums, cost := map[string]usageSum{}, 0.0
	server := regexp.MustCompile(`server="([^"]*)"`)
	for series, value := range b.metrics() {
		name := server.FindStringSubmatch(series)
		if name == nil {
			continue
		}
		sum := sums[name[1]]
		switch is := func(text string) bool { return strings.Contains(series, text) }; {
		case is("attempts_total{"):
			sum.Attempts += int64(value)
		case is("cost_dollars_total{"):
			cost += value
		case !is("claude_code_lb_tokens_total{"):
		case is(`kind="input"`):
			sum.Input += int64(value)
		case is(`kind="output"`):
			sum.Output += int64(value)
		case is(`kind="cache_read"`):
			sum.CacheRead += int64(value)
		case is(`kind="cache_creation_`):
			sum.CacheCreation += int64(value)
		}
		sums[name[1]] = sum
	}
	return sums, cost
}

// askPatiently sends one request and accepts any result.
func (b *balancer) askPatiently(t *testing.T, session, round int) {
	ctx, leave := context.WithTimeout(t.Context(), 30*time.Second)
	defer leave()
	body := fmt.Sprintf(`{"model":%q,"max_tokens":256,"stream":%t,"messages":[{"role":"user","content":"request %d of %d"}]}`, model, (session+round)%3 != 0, round, session)
	res, err := b.client.Do(newRequest(t, ctx, http.MethodPost, b.url+"/v1/messages", body))
	if err != nil {
		t.Error(err)
		return
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // it may break off
}

package replay

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

const (
	claudeCode = "../../traces/claude_code.jsonl.gz"
	mooncake   = "../../traces/mooncake_conversation.jsonl.gz"
)

func load(t testing.TB, file string) *Trace {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	trace, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// readBeginning reads the first hours of a day, twice: with the engine's reader and a plain one.
func readBeginning(t *testing.T, until time.Duration) ([]naiveRequest, *Trace) {
	t.Helper()
	f, err := os.Open(claudeCode)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var cut bytes.Buffer
	var lines []naiveRequest
	dec := json.NewDecoder(io.TeeReader(unzipped, &cut))
	for end := int64(0); ; end = dec.InputOffset() {
		var l line
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		if seconds(l.T) > until {
			cut.Truncate(int(end))
			break
		}
		if l.Session == nil {
			continue
		}
		r := naiveRequest{at: seconds(l.T), session: *l.Session, agent: l.Agent, model: l.Model, input: l.In, output: l.Out}
		for _, b := range l.Blocks {
			for id := b[0]; id < b[0]+b[1]; id++ {
				r.blocks = append(r.blocks, id)
			}
		}
		lines = append(lines, r)
	}
	trace, err := Read(&cut)
	if err != nil {
		t.Fatal(err)
	}
	if trace.Requests() != len(lines) {
		t.Fatalf("%d requests against %d", trace.Requests(), len(lines))
	}
	return lines, trace
}

// goal is the required result of one run; zero means no goal.
type goal struct {
	name                       string
	options                    Options
	cost, costLost, hitLost    float64 // cost relative to one account; allowed excess over the same run without the fault; points of hit rate
	imbalance15m, imbalanceRun float64
	ttft                       float64 // relative to one account
	upstream429                int
	moved                      int // most moved conversations, with outages
}

// goals are the numbers that the product promises.
func goals() []goal {
	limited := fakeclaude.Limits{InputTokens: 450_000}
	policy := "cost_aware"
	base := Options{Policy: policy, Accounts: 8}
	with := func(change func(*Options)) Options {
		o := base
		change(&o)
		return o
	}
	return []goal{
		{name: "8 accounts", options: base, cost: 1.008, hitLost: 0.2, imbalance15m: 2.2, imbalanceRun: 1.15},
		{name: "16 accounts", options: with(func(o *Options) { o.Accounts = 16 }), cost: 1.010},
		{name: "3 accounts with limits", options: with(func(o *Options) { o.Accounts, o.Limits = 3, limited }), cost: 1.02, ttft: 1.03, upstream429: 19},
		{name: "estimates are wrong", options: with(func(o *Options) { o.Accounts, o.Limits, o.Deviation = 3, limited, 0.3 }), cost: 1.02, upstream429: 19},
		{name: "one account is dead for 10 minutes", options: with(func(o *Options) {
			o.Outages = []Outage{{Account: 0, From: 4 * time.Hour, Length: 10 * time.Minute}}
		}), costLost: 0.002, moved: 8},
		{name: "restart", options: with(func(o *Options) { o.Restart = 4 * time.Hour }), costLost: 0.006},
		{name: "restart with a snapshot", options: with(func(o *Options) { o.Restart, o.Snapshot = 4*time.Hour, true }), costLost: 0.0005},
		{name: "clients send no session", options: with(func(o *Options) { o.NoSession = true }), cost: 1.008},
	}
}

func TestGoals(t *testing.T) {
	trace := load(t, claudeCode)
	single := replay(t, trace, Options{Policy: "round_robin", Accounts: 1})
	if single.HitRate < 0.915 || single.HitRate > 0.93 {
		t.Errorf("one account reads %.3f of its input from the cache: the model is not the one that was measured", single.HitRate)
	}
	if blind := replay(t, trace, Options{Policy: "round_robin", Accounts: 8}); blind.Cost/single.Cost < 2.9 || blind.Cost/single.Cost > 3.3 {
		t.Errorf("round robin over 8 accounts costs %.2f times as much: the model is not the one that was measured", blind.Cost/single.Cost)
	}
	plain := replay(t, trace, Options{Policy: "cost_aware", Accounts: 8})
	var wg sync.WaitGroup
	for _, g := range goals() {
		wg.Go(func() { g.check(t, replay(t, trace, g.options), single, plain) })
	}
	wg.Wait()
}

func replay(t *testing.T, trace *Trace, o Options) Result {
	t.Helper()
	r, err := Run(t.Context(), trace, o)
	if err != nil {
		t.Error(err)
	}
	if r.Requests != trace.Requests() || r.Failed > 0 {
		t.Errorf("%+v: %d of %d requests got a response, %d errors", o, r.Requests, trace.Requests(), r.Failed)
	}
	return r
}

func (g goal) check(t *testing.T, r, single, plain Result) {
	above := func(name string, got, limit float64) {
		if limit > 0 && got > limit {
			t.Errorf("%s: %s is %.4f, the goal is at most %.4f", g.name, name, got, limit)
		}
	}
	cost := r.Cost / single.Cost
	above("cost", cost, g.cost)
	if g.costLost > 0 {
		above("cost", cost, plain.Cost/single.Cost+g.costLost)
	}
	above("hit rate lost in points", 100*(single.HitRate-r.HitRate), g.hitLost)
	above("imbalance of 15 minutes", r.Imbalance15m, g.imbalance15m)
	above("imbalance of the run", r.ImbalanceRun, g.imbalanceRun)
	above("time to first token", r.TTFTMean/single.TTFTMean, g.ttft)
	above("conversations moved", float64(r.Moved), float64(g.moved))
	if r.Client429 > 0 || r.Upstream429 > g.upstream429 || r.MovedAgain > 0 && g.moved > 0 {
		t.Errorf("%s: %d refusals seen by clients, %d by the balancer, %d conversations moved twice", g.name, r.Client429, r.Upstream429, r.MovedAgain)
	}
	t.Logf("%-36s cost %.4f, hits %.2f %%, imbalance %.2f %.2f, 429 %d, waited %d, moved %d", g.name, cost, 100*r.HitRate, r.Imbalance15m, r.ImbalanceRun, r.Upstream429, r.Waited, r.Moved)
}

// TestOneSharedSystemPrompt checks that a shared prompt does not bring all conversations to one
// account.
func TestOneSharedSystemPrompt(t *testing.T) {
	trace := load(t, mooncake)
	single := replay(t, trace, Options{Policy: "round_robin", Accounts: 1})
	for _, n := range []int{8, 16} {
		r := replay(t, trace, Options{Policy: "cost_aware", Accounts: n})
		if cost := r.Cost / single.Cost; cost > 1.008 || r.ImbalanceRun > 1.05 {
			t.Errorf("%d accounts: cost %.4f, imbalance %.3f", n, cost, r.ImbalanceRun)
		}
	}
}

// TestEveryAlgorithmKeepsConversationsTogether checks affinity with every algorithm.
func TestEveryAlgorithmKeepsConversationsTogether(t *testing.T) {
	_, trace := readBeginning(t, 2*time.Hour)
	single := replay(t, trace, Options{Policy: "round_robin", Accounts: 1})
	for _, a := range []string{"round_robin", "weighted_round_robin", "random", "least_inflight", "p2c", "cost_aware"} {
		if r := replay(t, trace, Options{Policy: a + "+affinity", Accounts: 8}); r.Cost/single.Cost > 1.05 || r.Moved > 0 {
			t.Errorf("%s: cost %.3f, %d conversations moved", a, r.Cost/single.Cost, r.Moved)
		}
	}
}

func TestReadErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := Read(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	f(``, "no request")
	f(`{"trace":"x","block":64}`, "no request")
	f(`{"t":1`, "entry 1")
	f(`{"a":1}`, "neither a request nor a header")
	f(`{"t":1,"s":1,"in":100,"out":1,"b":[[1]]}`, "[first id, count]")
	f(`{"t":1,"s":1,"in":100,"out":1,"b":[[1,-1]]}`, "[first id, count]")
	f(`{"t":-1,"s":1,"in":100,"out":1,"b":[[1,1]]}`, "out of range")
	f(`{"t":1,"s":1,"in":100,"out":1,"b":[[1,1]],"tp":2}`, "do not fit")
	f(`{"t":2,"s":1,"in":100,"b":[[1,1]]}{"t":1,"s":1,"in":100,"b":[[1,1]]}`, "entry 2: the request is earlier")
	f(`{"hash_ids":[1],"input_length":600}`, "has no timestamp")
	f("\x1f\x8bnonsense", "gzip")
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"trace":"x","block":64}{"t":1,"s":1,"a":0,"m":"m","in":200,"out":5,"tp":1,"sp":2,"b":[[1,2],[9,1]]}{"t":2,"s":1,"a":0,"m":"m","in":300,"out":5,"tp":1,"sp":2,"b":[[1,2],[9,2]]}`))
	f.Add([]byte(`{"timestamp":0,"input_length":1100,"output_length":5,"hash_ids":[0,7,8]}{"timestamp":5,"input_length":1100,"output_length":5,"hash_ids":[0,7,9]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		trace, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		for i := range trace.requests {
			r := &trace.requests[i]
			blocks := int64(0)
			for _, n := range r.prompt.path(nil) {
				blocks += int64(n.count) * n.size
			}
			if blocks != r.prompt.tokens {
				t.Fatalf("request %d: %d tokens on the path, %d at its end", i, blocks, r.prompt.tokens)
			}
		}
	})
}

func TestRunErrors(t *testing.T) {
	trace, err := Read(strings.NewReader(`{"t":1,"s":1,"in":100,"out":1,"b":[[1,1]]}`))
	if err != nil {
		t.Fatal(err)
	}
	f := func(o Options, want string) {
		t.Helper()
		if _, err := Compare(t.Context(), trace, []Options{o}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	f(Options{Policy: "cost_awre", Accounts: 2}, "cost_aware")
	f(Options{Policy: "random", Accounts: 2, Outages: []Outage{{Account: 2}}}, "no account 2")
}

package replay

import (
	"encoding/json"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// exportedBlock is the tokens of one block in an exported trace.
const exportedBlock = 64

// ErrNothing means that no request can be exported.
var ErrNothing = errors.New("no request of the messages API with a known usage in that time")

// Export writes requests as a trace that Read reads, and returns their number. The trace contains
// no text: only how long the common prefixes of prompts are. Blocks, sessions and agents get new
// numbers. It reads the requests twice, in the order of time: first for the number of tokens per
// byte.
func Export(w io.Writer, requests func() iter.Seq2[*ledger.Entry, error]) (written int, err error) {
	ratios, err := tokensPerByte(requests())
	if err != nil {
		return 0, err
	}
	x := exporter{out: json.NewEncoder(w), ratios: ratios, nodes: map[uint64]exportedPrefix{}, sessions: map[[2]string]int{}, agents: map[[3]string]int{}, threads: map[int]int{}}
	if err := x.out.Encode(struct {
		Trace string `json:"trace"`
		Block int    `json:"block"`
	}{"claude-code-lb", exportedBlock}); err != nil {
		return 0, err
	}
	for e, err := range requests() {
		if err != nil {
			return written, err
		}
		l, ok := x.line(e)
		if !ok {
			continue
		}
		if err := x.out.Encode(l); err != nil {
			return written, err
		}
		written++
	}
	if written == 0 {
		return 0, ErrNothing
	}
	return written, nil
}

// promptOf returns the outline of a request that can be exported.
func promptOf(e *ledger.Entry) (tools, system claude.Boundary, turns []claude.Boundary, usage claude.Usage, ok bool) {
	a := e.Final()
	if a == nil || !a.Known() || a.Answer.Usage.TotalInputTokens() == 0 {
		return tools, system, nil, usage, false
	}
	tools, system, turns, ok = e.Prompt.Boundaries()
	return tools, system, turns, a.Answer.Usage, ok && len(turns) > 0
}

// tokensPerByte returns the tokens per byte of prompts by model: one number for all prompts of a
// model, because prompts that begin alike must begin with the same blocks.
func tokensPerByte(requests iter.Seq2[*ledger.Entry, error]) (map[string]float64, error) {
	tokens, bytes := map[string]float64{}, map[string]float64{}
	for e, err := range requests {
		if err != nil {
			return nil, err
		}
		if _, _, turns, u, ok := promptOf(e); ok {
			tokens[e.Model] += float64(u.TotalInputTokens())
			bytes[e.Model] += float64(turns[len(turns)-1].Bytes)
		}
	}
	for model := range tokens {
		tokens[model] /= max(bytes[model], 1)
	}
	return tokens, nil
}

// exportedPrefix is a prefix of prompts: its addition to the prefix that it continues.
type exportedPrefix struct {
	parent uint64 // fingerprint of the prefix that it continues; 0: it continues no other
	first  int64  // number of its first block
	count  int64
	end    int64 // blocks up to here
}

type exporter struct {
	out      *json.Encoder
	ratios   map[string]float64
	begin    time.Time
	nodes    map[uint64]exportedPrefix // by fingerprint
	blocks   int64                     // number of blocks so far
	sessions map[[2]string]int         // by client and session
	agents   map[[3]string]int         // by client, session and agent, within a session
	threads  map[int]int               // agents of a session so far
}

// exportedLine is a request in the format that Read reads.
type exportedLine struct {
	T       float64    `json:"t"`
	Session *int       `json:"s,omitempty"`
	Agent   int        `json:"a,omitempty"`
	Model   string     `json:"m"`
	In      int64      `json:"in"`
	Out     int64      `json:"out"`
	Tools   int64      `json:"tp,omitempty"`
	System  int64      `json:"sp,omitempty"`
	Blocks  [][2]int64 `json:"b"`
}

func (x *exporter) line(e *ledger.Entry) (exportedLine, bool) {
	tools, system, turns, usage, ok := promptOf(e)
	if !ok {
		return exportedLine{}, false
	}
	if x.begin.IsZero() {
		x.begin = e.Start
	}
	ratio := x.ratios[e.Model]
	x.extend(tools, 0, ratio)
	x.extend(system, tools.Fingerprint, ratio)
	parent := system.Fingerprint
	for _, b := range turns {
		x.extend(b, parent, ratio)
		parent = b.Fingerprint
	}
	l := exportedLine{
		T: float64(e.Start.Sub(x.begin).Milliseconds()) / 1000, Model: e.Model, In: usage.TotalInputTokens(), Out: usage.OutputTokens,
		Tools: x.nodes[tools.Fingerprint].end, System: x.nodes[system.Fingerprint].end, Blocks: x.path(parent),
	}
	if e.Session != "" {
		session, agent := x.number(e)
		l.Session, l.Agent = &session, agent
	}
	return l, true
}

// extend adds a prefix. A known prefix keeps its position, because prompts branch there.
func (x *exporter) extend(b claude.Boundary, parent uint64, ratio float64) {
	if _, known := x.nodes[b.Fingerprint]; known || b.Fingerprint == parent {
		return
	}
	begin := x.nodes[parent].end
	end := max(int64(float64(b.Bytes)*ratio)/exportedBlock, begin)
	x.nodes[b.Fingerprint] = exportedPrefix{parent: parent, first: x.blocks, count: end - begin, end: end}
	x.blocks += end - begin
}

// path lists the blocks of a prefix from its beginning, as [first, count].
func (x *exporter) path(fingerprint uint64) [][2]int64 {
	var reversed [][2]int64
	for fingerprint != 0 {
		n := x.nodes[fingerprint]
		if last := len(reversed) - 1; last >= 0 && n.first+n.count == reversed[last][0] {
			reversed[last] = [2]int64{n.first, n.count + reversed[last][1]}
		} else if n.count > 0 {
			reversed = append(reversed, [2]int64{n.first, n.count})
		}
		fingerprint = n.parent
	}
	out := make([][2]int64, 0, len(reversed))
	for i := len(reversed) - 1; i >= 0; i-- {
		out = append(out, reversed[i])
	}
	return out
}

// number assigns numbers to sessions and their agents, in the order of their appearance.
func (x *exporter) number(e *ledger.Entry) (session, agent int) {
	key := [2]string{e.Client, e.Session}
	session, known := x.sessions[key]
	if !known {
		session = len(x.sessions)
		x.sessions[key] = session
	}
	agentKey := [3]string{e.Client, e.Session, e.Agent}
	agent, known = x.agents[agentKey]
	if !known {
		agent = x.threads[session]
		x.threads[session]++
		x.agents[agentKey] = agent
	}
	return session, agent
}

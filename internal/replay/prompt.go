package replay

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// tokenBytes is how many bytes of text make one token.
const tokenBytes = 4

// prompts makes of a trace's blocks what the balancer finds in a body.
type prompts struct {
	trace *Trace
	// deviation is by how much, as a part, a session's text may have more or fewer bytes per token than usual.
	deviation float64
	prompt    claude.Prompt
	path      []*node
}

// of returns what a request's body asks the cache for, valid until the next call.
// Messages end where requests end and where two part from each other.
func (p *prompts) of(i int) *claude.Prompt {
	r := &p.trace.requests[i]
	p.prompt = claude.Prompt{HasBreakpoint: true, Turns: p.prompt.Turns[:0]}
	p.path = r.prompt.path(p.path)
	bytes, shared := 0.0, int64(0)
	if r.system != nil {
		shared = r.system.tokens
	} else if r.tools != nil {
		shared = r.tools.tokens
	}
	for _, n := range p.path {
		bytes += float64(int64(n.count)*n.size) * tokenBytes * p.density(n)
		b := claude.Boundary{Fingerprint: fingerprint(n), Bytes: int(bytes)}
		if n == r.tools {
			p.prompt.Tools = b
		}
		if n == r.system {
			p.prompt.System = b
		}
		if n.tokens > shared {
			p.prompt.Turns = append(p.prompt.Turns, b)
		}
	}
	if p.prompt.System.Bytes == 0 {
		p.prompt.System = p.prompt.Tools
	}
	p.addRest(r)
	return &p.prompt
}

// addRest counts the tokens behind the last whole block, which nobody else begins with.
func (p *prompts) addRest(r *request) {
	n := len(p.prompt.Turns)
	rest := r.input - r.prompt.tokens
	if n == 0 {
		b := p.prompt.System
		b.Fingerprint ^= uint64(rest)
		p.prompt.Turns = append(p.prompt.Turns, b)
		n = 1
	}
	p.prompt.Turns[n-1].Bytes += int(rest) * tokenBytes
}

// density is how much longer or shorter than usual the text of a node is.
func (p *prompts) density(n *node) float64 {
	if p.deviation == 0 {
		return 1
	}
	return 1 + p.deviation*(2*fraction(uint64(p.trace.requests[n.owner].session)+1)-1)
}

// fraction spreads numbers evenly over 0 to 1.
func fraction(n uint64) float64 {
	return float64(hash(n, 0)>>11) / (1 << 53)
}

func fingerprint(n *node) uint64 { return hash(uint64(n.id), 1) }

func hash(n, seed uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	return xxh3.HashSeed(b[:], seed)
}

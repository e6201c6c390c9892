package replay

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// tokenBytes is the number of bytes of text per token.
const tokenBytes = 4

// prompts converts a trace's blocks to what the balancer finds in a body.
type prompts struct {
	trace *Trace
	// deviation is the relative deviation of a session's bytes per token from the usual number.
	deviation float64
	prompt    claude.Prompt
	path      []*node
}

// of returns the cacheable prompt of a request, valid until the next call. Messages end where
// requests end and where two of them branch.
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
	p.addTail(r)
	return &p.prompt
}

// addTail counts the tokens after the last whole block, which no other prompt begins with.
func (p *prompts) addTail(r *request) {
	n := len(p.prompt.Turns)
	tail := r.input - r.prompt.tokens
	if n == 0 {
		b := p.prompt.System
		b.Fingerprint ^= uint64(tail)
		p.prompt.Turns = append(p.prompt.Turns, b)
		n = 1
	}
	p.prompt.Turns[n-1].Bytes += int(tail) * tokenBytes
}

// density returns the relative length of a node's text.
func (p *prompts) density(n *node) float64 {
	if p.deviation == 0 {
		return 1
	}
	return 1 + p.deviation*(2*fraction(uint64(p.trace.requests[n.owner].session)+1)-1)
}

// fraction maps numbers evenly to 0 to 1.
func fraction(n uint64) float64 {
	return float64(hash(n, 0)>>11) / (1 << 53)
}

func fingerprint(n *node) uint64 { return hash(uint64(n.id), 1) }

func hash(n, seed uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	return xxh3.HashSeed(b[:], seed)
}

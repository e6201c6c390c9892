package ledger

import (
	"encoding/binary"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// outlined is the number of message boundaries that an Outline keeps: more than one turn of a
// conversation adds.
const outlined = 12

// Outline is the shape of a prompt: fingerprints at its last boundaries and their distances from
// the beginning in bytes. It shows which prompts begin alike, and nothing of their content. It is
// encoded, because a ledger keeps millions: for each boundary 8 bytes of fingerprint and the
// distance from the previous one as a varint, tools and system first.
type Outline []byte

// OutlineOf returns the outline of a prompt. The result shares no memory with it.
func OutlineOf(p *claude.Prompt) Outline {
	if p == nil {
		return nil
	}
	turns := p.Turns[max(len(p.Turns)-outlined, 0):]
	out := make(Outline, 0, (2+len(turns))*11)
	last := 0
	add := func(b claude.Boundary) {
		out = binary.LittleEndian.AppendUint64(out, b.Fingerprint)
		out = binary.AppendUvarint(out, uint64(max(b.Bytes-last, 0)))
		last = max(b.Bytes, last)
	}
	add(p.Tools)
	add(p.System)
	for _, b := range turns {
		add(b)
	}
	return out
}

// Boundaries decodes the outline. It returns false if the outline is empty or damaged.
func (o Outline) Boundaries() (tools, system claude.Boundary, turns []claude.Boundary, ok bool) {
	var all []claude.Boundary
	last := 0
	for len(o) > 8 {
		fingerprint := binary.LittleEndian.Uint64(o)
		step, n := binary.Uvarint(o[8:])
		if n <= 0 || step > 1<<40 {
			return tools, system, nil, false
		}
		last += int(step)
		all = append(all, claude.Boundary{Fingerprint: fingerprint, Bytes: last})
		o = o[8+n:]
	}
	if len(o) > 0 || len(all) < 2 {
		return tools, system, nil, false
	}
	return all[0], all[1], all[2:], true
}

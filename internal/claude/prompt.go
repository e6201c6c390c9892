package claude

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// Prompt is what a request's body asks the prompt cache for: fingerprints of
// every prefix at which two requests of one conversation can meet. The cache
// looks at tools, system and messages in this order, whatever their order in the
// body (prompt-caching docs).
//
// Two prefixes have one fingerprint if they are the same to the cache: where
// cache_control stands makes no difference, nor whether a lone text is written as
// a string or as a block, for Claude Code moves the one and rewrites the other
// from turn to turn (observed).
type Prompt struct {
	Tools         Boundary   // end of tools
	System        Boundary   // end of system
	Turns         []Boundary // end of every message
	HasBreakpoint bool       // there is a cache_control: without one nothing is cached (prompt-caching docs)
	LongTTL       bool       // some mark asks for the cache's longer time to live
	// Thinking says that some message holds thinking of a model: later models drop what another account has signed (preserved-thinking docs).
	Thinking bool
	// IDs are what the request names of things that one account keeps: files, a container, skills. In the order of the body.
	IDs []string
	// ContinuationIDs names what the request goes on from: the message before it in its thread, the token of a stream to be resumed, and
	// what other members mention by the id of a message; those that hold the prompt, metadata and diagnostics excepted.
	ContinuationIDs []string
}

// Boundary is the end of a prefix.
type Boundary struct {
	Fingerprint uint64
	Bytes       int // of the body's text up to here, counted in the cache's order
}

// Last is the longest prefix: all of the prompt.
func (p *Prompt) Last() Boundary {
	if n := len(p.Turns); n > 0 {
		return p.Turns[n-1]
	}
	return p.System
}

// PromptScanner takes fingerprints. Its zero value is ready; it may be used for one body after the
// other, and its memory is used again. Not safe for concurrent use.
type PromptScanner struct {
	// Seed makes the fingerprints of one installation incomparable with those of others.
	Seed uint64

	hash   xxh3.Hasher
	turns  []part
	tools  part
	system part
	prompt Prompt
	ids    namedIDs

	follows followed
}

// part is one stretch of the prompt by itself: the parts are chained when all of them are known.
type part struct {
	sum   uint64
	bytes int
}

// Scan reads a request body in one pass, as ScanRequest does, and takes its
// fingerprints. The Prompt is valid until the next Scan. It reports false when
// body is not a JSON object: what cannot be read has no fingerprints. What JSON forbids in strings, control characters
// and unknown escapes, is not looked for: that would take longer than all the rest, and the upstream finds it.
func (p *PromptScanner) Scan(body []byte) (Request, *Prompt, error) {
	p.turns, p.tools, p.system, p.prompt.LongTTL = p.turns[:0], part{}, part{}, false
	p.prompt.HasBreakpoint, p.prompt.Thinking, p.ids = false, false, p.ids[:0]
	p.follows = p.follows[:0]
	r, err := scanRequest(body, p)
	if err != nil {
		return r, nil, err
	}
	p.chain(r.Model)
	p.prompt.IDs, p.prompt.ContinuationIDs = p.ids, p.follows
	return r, &p.prompt, nil
}

// chain turns the parts into prefixes.
func (p *PromptScanner) chain(model string) {
	at := Boundary{Fingerprint: xxh3.HashStringSeed(model, p.Seed)}
	next := func(each part) Boundary {
		var pair [16]byte
		binary.LittleEndian.PutUint64(pair[:8], at.Fingerprint)
		binary.LittleEndian.PutUint64(pair[8:], each.sum)
		at = Boundary{Fingerprint: xxh3.HashSeed(pair[:], p.Seed), Bytes: at.Bytes + each.bytes}
		return at
	}
	p.prompt.Tools, p.prompt.System = next(p.tools), next(p.system)
	p.prompt.Turns = p.prompt.Turns[:0]
	for _, each := range p.turns {
		p.prompt.Turns = append(p.prompt.Turns, next(each))
	}
}

// begin starts a part.
func (p *PromptScanner) begin() { p.hash.Reset() }

// end ends the part that began at offset start.
func (p *PromptScanner) end(s *scanner, start int) part {
	return part{sum: p.hash.Sum64() ^ p.Seed, bytes: s.at - start}
}

// takeTools takes the value of tools.
func (p *PromptScanner) takeTools(s *scanner) {
	p.begin()
	start := s.at
	named := len(p.ids)
	for range s.elements {
		p.takeBlock(s)
	}
	p.ids = p.ids[:named] // what a tool is called like names nothing
	p.tools = p.end(s, start)
}

// takeSystem takes the value of system: a string or a list of blocks.
func (p *PromptScanner) takeSystem(s *scanner) {
	p.begin()
	start := s.at
	p.takeContent(s)
	p.system = p.end(s, start)
}

// takeTurns takes the value of messages and returns how many there are.
func (p *PromptScanner) takeTurns(s *scanner) (n int) {
	for range s.elements {
		n++
		p.begin()
		start := s.at
		for name := range s.members {
			p.write(name)
			if string(name) == "content" {
				p.takeContent(s)
			} else {
				p.write(s.value())
			}
		}
		p.turns = append(p.turns, p.end(s, start))
	}
	return n
}

// takeContent takes a string or a list of blocks. A string counts as one block of text.
func (p *PromptScanner) takeContent(s *scanner) {
	if s.peek() != '[' {
		p.mark(textMark)
		p.write(s.value())
		return
	}
	for range s.elements {
		p.takeBlock(s)
	}
}

// takeBlock takes a block or a tool, cache_control left out. A block of nothing
// but text is the text; of any other the members come in their order, but type and text last.
func (p *PromptScanner) takeBlock(s *scanner) {
	if s.peek() != '{' {
		p.mark(otherMark)
		p.write(s.value())
		return
	}
	var kind, text []byte
	others := 0
	for name := range s.members {
		switch string(name) {
		case "cache_control":
			p.takeMark(s)
		case "type":
			kind = s.value()
		case "text":
			text = s.value()
		default:
			others++
			p.write(name)
			value := s.value()
			p.write(value)
			p.ids.addMember(name, value)
		}
	}
	if others == 0 && text != nil && string(kind) == `"text"` {
		p.mark(textMark)
		p.write(text)
		return
	}
	if k := string(kind); k == `"thinking"` || k == `"redacted_thinking"` {
		p.prompt.Thinking = true
	}
	p.mark(blockMark)
	p.write(kind)
	p.write(text)
}

// takeMark notes the time to live that a mark asks for.
func (p *PromptScanner) takeMark(s *scanner) {
	p.prompt.HasBreakpoint = p.prompt.HasBreakpoint || s.peek() == '{'
	for name := range s.members {
		if string(name) == "ttl" && string(s.value()) == `"1h"` {
			p.prompt.LongTTL = true
		}
	}
}

// The marks stand where a piece's length would, and are longer than any.
const (
	textMark  = ^uint64(0) - iota // a text follows
	blockMark                     // the end of a block: type and text follow
	otherMark                     // something follows that is no block
)

func (p *PromptScanner) mark(m uint64) {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], m)
	_, _ = p.hash.Write(word[:])
}

// write adds a piece so that no two sequences of pieces are the same bytes.
func (p *PromptScanner) write(piece []byte) {
	p.mark(uint64(len(piece)))
	_, _ = p.hash.Write(piece)
}

package claude

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// Prompt is the cacheable content of a request: the fingerprints of every prefix that two requests
// of one conversation can share. The order of the cache is tools, system, messages, regardless of
// their order in the body (prompt-caching docs).
//
// Two prefixes have the same fingerprint if the cache treats them as equal. The position of
// cache_control makes no difference, and a text block equals the same text as a string, because
// Claude Code moves the former and rewrites the latter from turn to turn (observed).
type Prompt struct {
	Tools         Boundary   // end of tools
	System        Boundary   // end of system
	Turns         []Boundary // end of every message
	HasBreakpoint bool       // there is a cache_control; without one nothing is cached (prompt-caching docs)
	LongTTL       bool       // a cache_control asks for the longer time to live
	// Thinking reports that a message contains thinking. Later models ignore thinking that another
	// account has signed (preserved-thinking docs).
	Thinking bool
	// IDs are the ids of files, containers and skills that the request names, in the order of the
	// body. Only one account has such a resource.
	IDs []string
	// ContinuationIDs are the ids and tokens of what the request continues: the message before it
	// in its thread, the token of a stream to resume, and the ids of messages in other members,
	// except those of the prompt, metadata and diagnostics.
	ContinuationIDs []string
}

// Boundary is the end of a prefix.
type Boundary struct {
	Fingerprint uint64
	Bytes       int // of the prefix in the body's text, in the order of the cache
}

// Last returns the boundary of the longest prefix, the whole prompt.
func (p *Prompt) Last() Boundary {
	if n := len(p.Turns); n > 0 {
		return p.Turns[n-1]
	}
	return p.System
}

// PromptScanner computes fingerprints. The zero value is ready to use. It can be used for many
// bodies and reuses its memory. Not safe for concurrent use.
type PromptScanner struct {
	// Seed makes the fingerprints of each installation different.
	Seed uint64

	hash   xxh3.Hasher
	turns  []segment
	tools  segment
	system segment
	prompt Prompt
	ids    resourceIDs

	continuationIDs continuationIDs
}

// segment is one part of the prompt. The segments are chained when all of them are known.
type segment struct {
	sum   uint64
	bytes int
}

// Scan reads a request body in one pass, as ScanRequest does, and computes its fingerprints. The
// Prompt is valid until the next Scan. It is nil, with an error, if body is not a JSON object. Scan
// does not look for control characters and unknown escapes in strings, which JSON forbids: that
// would take longer than everything else, and the upstream finds them.
func (p *PromptScanner) Scan(body []byte) (Request, *Prompt, error) {
	p.turns, p.tools, p.system, p.prompt.LongTTL = p.turns[:0], segment{}, segment{}, false
	p.prompt.HasBreakpoint, p.prompt.Thinking, p.ids = false, false, p.ids[:0]
	p.continuationIDs = p.continuationIDs[:0]
	r, err := scanRequest(body, p)
	if err != nil {
		return r, nil, err
	}
	p.chain(r.Model)
	p.prompt.IDs, p.prompt.ContinuationIDs = p.ids, p.continuationIDs
	return r, &p.prompt, nil
}

// chain computes the fingerprints of the prefixes from those of the segments.
func (p *PromptScanner) chain(model string) {
	at := Boundary{Fingerprint: xxh3.HashStringSeed(model, p.Seed)}
	next := func(each segment) Boundary {
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

// begin starts a segment.
func (p *PromptScanner) begin() { p.hash.Reset() }

// end ends the segment that began at offset start.
func (p *PromptScanner) end(s *scanner, start int) segment {
	return segment{sum: p.hash.Sum64() ^ p.Seed, bytes: s.at - start}
}

// scanTools reads the value of tools.
func (p *PromptScanner) scanTools(s *scanner) {
	p.begin()
	start := s.at
	named := len(p.ids)
	for range s.elements {
		p.scanBlock(s)
	}
	p.ids = p.ids[:named] // a tool's file_id names no file
	p.tools = p.end(s, start)
}

// scanSystem reads the value of system: a string or a list of blocks.
func (p *PromptScanner) scanSystem(s *scanner) {
	p.begin()
	start := s.at
	p.scanContent(s)
	p.system = p.end(s, start)
}

// scanMessages reads the value of messages and returns how many there are.
func (p *PromptScanner) scanMessages(s *scanner) (n int) {
	for range s.elements {
		n++
		p.begin()
		start := s.at
		for name := range s.members {
			p.write(name)
			if string(name) == "content" {
				p.scanContent(s)
			} else {
				p.write(s.value())
			}
		}
		p.turns = append(p.turns, p.end(s, start))
	}
	return n
}

// scanContent reads a string or a list of blocks. A string counts as one text block.
func (p *PromptScanner) scanContent(s *scanner) {
	if s.peek() != '[' {
		p.writeTag(textTag)
		p.write(s.value())
		return
	}
	for range s.elements {
		p.scanBlock(s)
	}
}

// scanBlock reads a block or a tool, without its cache_control. A block that has only a text is
// hashed as the text. In any other block the members are hashed in their order, with type and text
// last.
func (p *PromptScanner) scanBlock(s *scanner) {
	if s.peek() != '{' {
		p.writeTag(otherTag)
		p.write(s.value())
		return
	}
	var kind, text []byte
	others := 0
	for name := range s.members {
		switch string(name) {
		case "cache_control":
			p.scanCacheControl(s)
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
		p.writeTag(textTag)
		p.write(text)
		return
	}
	if k := string(kind); k == `"thinking"` || k == `"redacted_thinking"` {
		p.prompt.Thinking = true
	}
	p.writeTag(blockTag)
	p.write(kind)
	p.write(text)
}

// scanCacheControl reads a cache_control and its time to live.
func (p *PromptScanner) scanCacheControl(s *scanner) {
	p.prompt.HasBreakpoint = p.prompt.HasBreakpoint || s.peek() == '{'
	for name := range s.members {
		if string(name) == "ttl" && string(s.value()) == `"1h"` {
			p.prompt.LongTTL = true
		}
	}
}

// The tags take the place of the length of a piece. They are greater than any length.
const (
	textTag  = ^uint64(0) - iota // a text follows
	blockTag                     // the end of a block: type and text follow
	otherTag                     // a value follows that is not a block
)

func (p *PromptScanner) writeTag(tag uint64) {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], tag)
	_, _ = p.hash.Write(word[:])
}

// write hashes a piece with its length, so that two different sequences of pieces never hash the
// same bytes.
func (p *PromptScanner) write(piece []byte) {
	p.writeTag(uint64(len(piece)))
	_, _ = p.hash.Write(piece)
}

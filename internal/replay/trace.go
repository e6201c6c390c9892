// Package replay computes what a policy would have cost: it sends a recorded day of requests
// through the balancer's routing, on a virtual clock, to accounts with a prompt cache and rate
// limits.
//
// The routing is the real one: endpoints, leases, index and policies as they serve requests. The
// upstream is simulated. An account caches the blocks of its prompts, per model, for the cache's
// time to live since their last use; they are readable from the first token of the response that
// wrote them. A thread of a conversation sends its next request as long after the previous one as
// in the recording, or at the end of the previous response, if that is later.
package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Trace is a recorded sequence of requests. Immutable after Read.
type Trace struct {
	requests []request
	threads  int
	blocks   *tree
	span     time.Duration
}

// request is one request of a trace.
type request struct {
	at            time.Duration // since the trace began
	thread        int           // thread whose next request waits for this response; -1: no thread
	session       int           // -1 if the trace does not contain it
	agent         int
	model         string
	input, output int64 // tokens
	prompt        *node // end of the last whole block
	tools, system *node // ends of the prefixes that conversations share; nil if unknown
	next          int   // index of the thread's next request, 0 if this is the last
}

// Requests returns the number of requests.
func (t *Trace) Requests() int { return len(t.requests) }

// Span returns the time from the beginning to the last request.
func (t *Trace) Span() time.Duration { return t.span }

// mooncakeBlock is the number of tokens per block in Mooncake's format, which does not contain it.
const mooncakeBlock = 512

// line is a line of either format.
type line struct {
	// Header.
	Trace string `json:"trace"`
	Block int    `json:"block"`

	T       float64   `json:"t"`
	Session *int      `json:"s"`
	Agent   int       `json:"a"`
	Model   string    `json:"m"`
	In      int64     `json:"in"`
	Out     int64     `json:"out"`
	Tools   int       `json:"tp"`
	System  int       `json:"sp"`
	Blocks  [][]int64 `json:"b"`

	// Mooncake's fields.
	Timestamp *float64 `json:"timestamp"` // milliseconds
	InputLen  int64    `json:"input_length"`
	OutputLen int64    `json:"output_length"`
	HashIDs   []int64  `json:"hash_ids"`
}

// Read reads a trace, plain or compressed by gzip: one JSON object per line, in the order of time,
// in the format of export-trace or of Mooncake's published traces.
func Read(r io.Reader) (*Trace, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		decompressed, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		in = bufio.NewReader(decompressed)
	}
	t := reader{block: 64, threads: map[[2]int]int{}, Trace: Trace{blocks: newTree()}}
	dec := json.NewDecoder(in)
	for n := 1; ; n++ {
		var l line
		err := dec.Decode(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = t.addLine(l)
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", n, err)
		}
	}
	if len(t.requests) == 0 {
		return nil, errors.New("the trace contains no request")
	}
	return t.finish(), nil
}

// reader reads a trace.
type reader struct {
	Trace
	block     int64
	hasSystem bool           // a request contains the size of its tools and system
	threads   map[[2]int]int // by session and agent
}

func (t *reader) addLine(l line) error {
	switch {
	case l.Trace != "":
		if l.Block < 0 || l.Block > 1<<20 {
			return fmt.Errorf("the block size of %d tokens is out of range", l.Block)
		}
		if l.Block > 0 {
			t.block = int64(l.Block)
		}
		return nil
	case l.HashIDs != nil:
		return t.addMooncake(l)
	case l.Blocks != nil:
		return t.addNative(l)
	}
	return errors.New("neither a request nor a header: b and hash_ids are missing")
}

func (t *reader) addNative(l line) error {
	var runs []run
	for _, b := range l.Blocks {
		if len(b) != 2 || b[1] <= 0 || b[1] > 1<<24 {
			return errors.New("b is not a list of [first id, count]")
		}
		runs = append(runs, run{first: b[0], count: int(b[1])})
	}
	r := request{at: seconds(l.T), session: -1, thread: -1, agent: l.Agent, model: l.Model, input: l.In, output: l.Out}
	if l.Session != nil {
		key := [2]int{*l.Session, l.Agent}
		if _, known := t.threads[key]; !known {
			t.threads[key] = len(t.threads)
		}
		r.session, r.thread = *l.Session, t.threads[key]
	}
	return t.addRequest(r, runs, t.block, l.Tools, l.System)
}

func (t *reader) addMooncake(l line) error {
	if l.Timestamp == nil {
		return errors.New("the request has no timestamp")
	}
	r := request{at: seconds(*l.Timestamp / 1000), session: -1, thread: -1, input: l.InputLen, output: l.OutputLen}
	whole := min(int(max(l.InputLen, 0)/mooncakeBlock), len(l.HashIDs)) // the last block is incomplete
	var runs []run
	for _, id := range l.HashIDs[:whole] {
		if n := len(runs); n > 0 && runs[n-1].first+int64(runs[n-1].count) == id {
			runs[n-1].count++
		} else {
			runs = append(runs, run{first: id, count: 1})
		}
	}
	return t.addRequest(r, runs, mooncakeBlock, 0, 0)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (t *reader) addRequest(r request, runs []run, block int64, tools, system int) error {
	const maxTokens = 1 << 30
	if r.at < 0 || r.input < 0 || r.output < 0 || r.input > maxTokens || r.output > maxTokens {
		return errors.New("a time or a number of tokens is out of range")
	}
	total := 0
	for _, each := range runs {
		total += each.count
	}
	if tools < 0 || system < tools || system > total {
		return fmt.Errorf("tp %d and sp %d do not fit %d blocks", tools, system, total)
	}
	ends := t.blocks.insert(r.model, runs, block, []int{tools, system, total}, len(t.requests))
	t.hasSystem = t.hasSystem || system > 0
	if tools > 0 {
		r.tools = ends[0]
	}
	if system > 0 {
		r.system = ends[1]
	}
	r.prompt = ends[2]
	if n := len(t.requests); n > 0 && r.at < t.requests[n-1].at {
		return errors.New("the request is earlier than the one before")
	}
	t.requests = append(t.requests, r)
	return nil
}

func (t *reader) finish() *Trace {
	trace := t.Trace
	trace.threads = len(t.threads)
	trace.span = trace.requests[len(trace.requests)-1].at
	last := slices.Repeat([]int{-1}, trace.threads)
	for i := range trace.requests {
		thread := trace.requests[i].thread
		if thread < 0 {
			continue
		}
		if before := last[thread]; before >= 0 {
			trace.requests[before].next = i
		}
		last[thread] = i
	}
	trace.blocks.number()
	for i := range trace.requests {
		if r := &trace.requests[i]; !t.hasSystem {
			r.system = r.prompt.guessSystem()
		}
	}
	return &trace
}

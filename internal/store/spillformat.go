package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// spillVersion is the version of the lines that encodeSpill writes. A program rejects lines of a
// newer version, because it would drop fields that it does not know.
const spillVersion = 1

// The kinds of lines in a spill. Each line names its batch, so that lines of several batches and
// lines of a log may be mixed.
const (
	kindBatch   = "batch"   // the first line of a batch: its version and how many lines follow
	kindSums    = "sums"    // one line of the hourly sums
	kindRow     = "row"     // one request
	kindReading = "reading" // one reading of a balance
)

// spillLine is one line as JSON. The kind determines which fields are set.
type spillLine struct {
	Kind  string `json:"ledger"`
	Batch string `json:"batch"`

	Version int  `json:"version,omitempty"`
	Lines   int  `json:"lines,omitempty"`
	Untried bool `json:"untried,omitempty"` // the ledger certainly does not have it

	Slot    int64            `json:"slot,omitempty"`
	Client  string           `json:"client,omitempty"`
	Model   string           `json:"model,omitempty"`
	Server  string           `json:"server,omitempty"`
	Figures map[string]int64 `json:"figures,omitempty"`

	Row    int64           `json:"row,omitempty"`
	Prompt []byte          `json:"prompt,omitempty"`
	Entry  json.RawMessage `json:"entry,omitempty"`

	At    int64   `json:"at,omitempty"` // milliseconds since 1970
	Value float64 `json:"value,omitempty"`
}

// encodeSpill writes batches as JSON lines. Sums come before rows, so that a truncated file loses
// requests before it loses money.
func encodeSpill(to io.Writer, list []*load) error {
	out := bufio.NewWriter(to)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for _, b := range list {
		if err := encodeBatch(lines, b); err != nil {
			return err
		}
	}
	return out.Flush()
}

func encodeBatch(lines *json.Encoder, b *load) error {
	head := spillLine{Kind: kindBatch, Batch: b.id, Version: spillVersion, Lines: len(b.sums) + len(b.rows) + len(b.readings), Untried: b.tries == 0}
	if err := lines.Encode(head); err != nil {
		return err
	}
	for _, at := range b.sums.sorted() {
		line := spillLine{Kind: kindSums, Batch: b.id, Slot: at.n, Client: at.client, Model: at.model, Server: at.server, Figures: map[string]int64{}}
		for _, f := range b.sums[at].Fields() {
			if *f.Value != 0 {
				line.Figures[f.Name] = *f.Value
			}
		}
		if err := lines.Encode(line); err != nil {
			return err
		}
	}
	for _, r := range b.readings {
		if err := lines.Encode(spillLine{Kind: kindReading, Batch: b.id, Server: r.Server, At: r.At.UnixMilli(), Value: r.Value}); err != nil {
			return err
		}
	}
	for _, r := range b.rows {
		if err := lines.Encode(spillLine{Kind: kindRow, Batch: b.id, Row: r.id, Prompt: r.prompt, Entry: json.RawMessage(r.entry)}); err != nil {
			return err
		}
	}
	return nil
}

// spilled is the content of a spill.
type spilled struct {
	batches []*load
	damaged int // unusable or missing lines
}

// requests counts the requests, including those that are only in the sums.
func (s *spilled) requests() int {
	var counted, rows int64
	for _, b := range s.batches {
		rows += int64(len(b.rows))
		for _, sums := range b.sums {
			counted += sums.Requests
		}
	}
	return int(max(counted, rows)) // the sums of some rows may be in the ledger already
}

// errNewerSpill is the error for a spill that a newer program wrote.
var errNewerSpill = errors.New("a newer version of this program wrote it: import it with that version")

// longestLine bounds a line of a spill.
const longestLine = 8 << 20

// decodeSpill decodes the output of encodeSpill. It skips other lines, such as those of a log, and
// counts the lines that it cannot use.
func decodeSpill(from io.Reader) (*spilled, error) {
	p := spillParser{out: &spilled{}, byID: map[string]*load{}, expected: map[string]int{}}
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		raw, err := readLine(in)
		if p.line(raw); p.newer {
			return nil, errNewerSpill
		}
		if errors.Is(err, io.EOF) {
			return p.finish(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// readLine reads a line without its end. It truncates a line that is too long.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line) < longestLine {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimRight(line, "\r\n"), err
		}
	}
}

type spillParser struct {
	out      *spilled
	byID     map[string]*load
	expected map[string]int // lines that a batch announced and that are still missing
	newer    bool

	unreadable int // lines of an unknown batch
}

// line adds a line to its batch.
func (p *spillParser) line(raw []byte) {
	at := bytes.Index(raw, []byte(`{"ledger":"`))
	if at < 0 {
		return // a line of a log
	}
	var l spillLine
	if err := json.NewDecoder(bytes.NewReader(raw[at:])).Decode(&l); err != nil || l.Batch == "" || len(l.Batch) > 100 {
		p.unreadable++
		return
	}
	b := p.batch(text(l.Batch))
	if l.Kind == kindBatch {
		p.newer = p.newer || l.Version > spillVersion
		p.expected[b.id] += min(max(l.Lines, 0), 1e9)
		b.untried = l.Untried
		return
	}
	p.expected[b.id]--
	if err := l.addTo(b); err != nil {
		p.out.damaged++
	}
}

// batch returns the batch with an id, and creates it if needed.
func (p *spillParser) batch(id string) *load {
	b := p.byID[id]
	if b == nil {
		b = &load{batch: &batch{id: id, sums: tally{}, restored: true}}
		p.byID[id] = b
		p.out.batches = append(p.out.batches, b)
	}
	return b
}

func (p *spillParser) finish() *spilled {
	missing := 0
	for _, n := range p.expected {
		missing += max(n, -n)
	}
	p.out.damaged += max(missing, p.unreadable) // an unreadable line is also missing in its batch
	return p.out
}

// addTo adds the line's data to its batch.
func (l *spillLine) addTo(b *load) error {
	switch l.Kind {
	case kindSums:
		return l.addSums(b.sums)
	case kindReading:
		b.readings = append(b.readings, Reading{Server: l.Server, At: time.UnixMilli(l.At), Value: l.Value})
		return nil
	case kindRow:
		if l.Row <= 0 {
			return errors.New("a request without an id")
		}
		if bytes.Contains(l.Entry, []byte(`\u0000`)) { // PostgreSQL rejects it, and text never produces it
			return errors.New("a request with a zero byte")
		}
		if _, err := decode(l.Entry, nil); err != nil {
			return err
		}
		b.rows = append(b.rows, row{id: l.Row, entry: string(l.Entry), prompt: l.Prompt})
		return nil
	default:
		return fmt.Errorf("a line of the unknown kind %q", l.Kind)
	}
}

func (l *spillLine) addSums(to tally) error {
	var sums ledger.Sums
	known := 0
	for _, f := range sums.Fields() {
		if value, ok := l.Figures[f.Name]; ok {
			*f.Value = value
			known++
		}
	}
	if known != len(l.Figures) || l.Slot < 0 {
		return errors.New("sums with unknown figures")
	}
	to.at(slot{n: l.Slot, client: text(l.Client), model: text(l.Model), server: text(l.Server)}).Add(sums)
	return nil
}

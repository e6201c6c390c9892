package claude

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestEventScanner(t *testing.T) {
	f := func(stream string, want ...string) {
		t.Helper()
		var got []string
		var s EventScanner
		s.Feed([]byte(stream), func(ev Event) { got = append(got, fmt.Sprintf("%s=%s@%d", ev.Name, ev.Data, ev.End)) })
		if !slices.Equal(got, want) {
			t.Errorf("%q:\n got %q\nwant %q", stream, got, want)
		}
	}
	f("event: ping\ndata: {}\n\n", "ping={}@22")
	f("event: ping\r\ndata: {}\r\n\r\n", "ping={}@25")
	f("data: {}\nevent: ping\n\n", "ping={}@22")
	f("event:ping\ndata:{}\n\nevent:  two\ndata:  {}\n\n", "ping={}@20", " two= {}@43")
	f("data: {}\n\n", "={}@10")
	f("data: a\ndata:\ndata: b\ndata\n\n", "=a\n\nb\n@28")
	f("event: ping\n\n", "ping=@13")
	f("event\n\n", "=@7")
	f("event: a\nevent: b\ndata: x\n\n", "b=x@27")
	f("id: 7\nretry: 1\nevents: a\ndatum: b\nEvent: c\n\n")
	f(": a comment\n\n")
	f("\n\n\r\n")
	f(": in\nevent: ping\n: between\ndata: {}\n\n", "ping={}@37")
	f("event: ping\rdata: {}\r\r", "ping={}@22")
	f("event: ping\rdata: {}\n\r\n", "ping={}@23")
	f("data: a\r\r\n\r\r\n\n", "=a@10")
	f("\ufeffevent: ping\ndata: {}\n\n", "ping={}@25")
	f("\ufeff: comment\n\ufeffdata: {}\n\ufeff\n\ufeff\ufeff\n\n", "={}@29")
	f("\ufeffevent\n\n", "=@10")
	f("event: ping\ndata: {}\n")
	f("event: "+strings.Repeat("n", 200)+"\n\n", strings.Repeat("n", 128)+"=@209")
}

func TestEventScannerKeepsOnlyWhatIsWanted(t *testing.T) {
	f := func(stream string, want ...string) {
		t.Helper()
		var got []string
		s := EventScanner{KeepData: func(name string) bool { return name == "yes" }, MaxData: 4}
		s.Feed([]byte(stream), func(ev Event) { got = append(got, fmt.Sprintf("%s=%s %v", ev.Name, ev.Data, ev.Truncated)) })
		if !slices.Equal(got, want) {
			t.Errorf("%q:\n got %q\nwant %q", stream, got, want)
		}
		if cap(s.data) > 16 {
			t.Errorf("%q: %d bytes kept", stream, cap(s.data))
		}
	}
	f("event: yes\ndata: 1234\n\n", "yes=1234 false")
	f("event: yes\ndata: 12345\n\n", "yes=1234 true")
	f("event: yes\ndata: 123\ndata: 4\n\nevent: yes\ndata: 1\n\n", "yes=123\n true", "yes=1 false")
	f("data: 12345\nevent: yes\n\n", "yes=1234 true")
	f("event: no\ndata: 12\n\nevent: yes\ndata: 34\n\n", "no= false", "yes=34 false")
	f("data: 12\nevent: no\n\ndata: 34\n\n", "no= false", "= false")
	f("event: no\ndata: 12\nevent: yes\ndata: 34\n\n", "yes=\n34 true")
	f("data: 12\nevent: no\nevent: yes\ndata: 34\n\n", "yes=\n34 true")
	f("event: no\ndata: "+strings.Repeat("x", 1000)+"\n\n", "no= false")
}

func TestEventScannerBoundary(t *testing.T) {
	var s EventScanner
	ignore := func(Event) {}
	f := func(piece string, boundary int, mid bool) {
		t.Helper()
		if got := s.Feed([]byte(piece), ignore); got != boundary {
			t.Errorf("%q: boundary %d, want %d", piece, got, boundary)
		}
		if s.InEvent() != mid {
			t.Errorf("%q: mid event is %v", piece, s.InEvent())
		}
	}
	f("", 0, false)
	f("event: a\n", 0, true)
	f("", 0, true)
	f("\n", 1, false)
	f("event: a\n\nevent: b\n\nda", 20, true)
	f("ta: x", 0, true)
	f("\n\r", 2, false)
	f("\n", 1, false) // the rest of the blank line
	f("data: y\r", 0, true)
	f("\n", 0, true) // the rest of the first line
	f("\r", 1, false)
	f("event: a\r", 0, true)
	f("\r", 1, false)
	f(": comment", 0, true)
	f("\n\n", 2, false)
	f("\n", 1, false)
}

func TestEventScannerAllocations(t *testing.T) {
	stream := messageStream(100)
	s := EventScanner{KeepData: NeedsData}
	events := 0
	count := func(Event) { events++ }
	s.Feed(stream, count)
	allocs := testing.AllocsPerRun(10, func() {
		for piece := range slices.Chunk(stream, 100) {
			s.Feed(piece, count)
		}
	})
	if allocs != 0 || events == 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzEventScanner compares the scanner, fed whole and in parts, with a parser of the whole stream.
func FuzzEventScanner(f *testing.F) {
	f.Add(messageStream(2), uint64(1), uint16(0))
	f.Add([]byte("event: ping\r\ndata: {}\r\n\r\n: c\r\n\r\ndata: x\r\r\n\n"), uint64(2), uint16(3))
	f.Add([]byte("data\ndata:\ndata: \ndata:  \nevent\n\nevent: message_start\ndata: 12345678\n\n\n"), uint64(3), uint16(4))
	f.Add([]byte("event: no\ndata: 12\nevent: error\ndata: 34\n\neventx: 1\n\n:\n\n"), uint64(4), uint16(2))
	f.Add([]byte("data: a\revent: b\n\r\n\r"), uint64(5), uint16(1))
	f.Add([]byte("\ufeffevent: x\r\rdata: {}\r\n\r\n\ufeff\ufeffdata: y\n\ufeff\n"), uint64(6), uint16(0))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, maxData uint16) {
		bound := int(maxData)
		if bound == 0 {
			bound = defaultMaxData
		}
		want, lastBoundary := eventsOfWhole(stream, bound)
		random := rand.New(rand.NewPCG(seed, 0))
		for _, longest := range []int{len(stream), 1, 2, 7, 64} {
			s := EventScanner{KeepData: NeedsData, MaxData: int(maxData)}
			var got []Event
			boundary, at := 0, 0
			for at < len(stream) {
				piece := stream[at : at+1+random.IntN(min(longest, len(stream)-at))]
				if longest == len(stream) {
					piece = stream
				}
				last := 0
				end := s.Feed(piece, func(ev Event) {
					if ev.End <= last || ev.End > len(piece) {
						t.Fatalf("end %d after %d in a piece of %d", ev.End, last, len(piece))
					}
					if blank := piece[ev.Blank:ev.End]; !slices.Contains([]string{"\n", "\r", "\r\n"}, string(blank)) {
						t.Fatalf("an event ends with %q", blank)
					}
					last = ev.End
					if ev.End += at; stream[ev.End-1] == '\r' && ev.End < len(stream) && stream[ev.End] == '\n' {
						ev.End++ // the piece ended between CR and LF
					}
					ev.Data = bytes.Clone(ev.Data)
					got = append(got, ev)
				})
				if end < last || end > len(piece) {
					t.Fatalf("boundary %d, last event ends at %d, piece of %d", end, last, len(piece))
				}
				if end > 0 {
					boundary = at + end
				}
				at += len(piece)
				if s.InEvent() != (boundary < at) {
					t.Fatalf("mid event is %v at %d, last boundary %d", s.InEvent(), at, boundary)
				}
			}
			if boundary != lastBoundary {
				t.Errorf("pieces of %d: boundary %d, want %d", longest, boundary, lastBoundary)
			}
			if !slices.EqualFunc(got, want, sameEvent) {
				t.Errorf("pieces of %d:\n got %+v\nwant %+v", longest, got, want)
			}
		}
	})
}

func sameEvent(a, b Event) bool {
	return a.Name == b.Name && a.Named == b.Named && bytes.Equal(a.Data, b.Data) && a.Truncated == b.Truncated && a.End == b.End
}

// linesOf cuts a whole stream into its complete lines, each with the offset after its ending.
func linesOf(stream []byte) (lines [][]byte, ends []int) {
	start := 0
	for i := 0; i < len(stream); i++ {
		if stream[i] != '\n' && stream[i] != '\r' {
			continue
		}
		line := stream[start:i]
		if stream[i] == '\r' && i+1 < len(stream) && stream[i+1] == '\n' {
			i++
		}
		start = i + 1
		lines, ends = append(lines, bytes.TrimPrefix(line, []byte(byteOrderMark))), append(ends, start)
	}
	return lines, ends
}

// eventsOfWhole parses a whole stream line by line, and returns its events and the offset after the
// last blank line.
func eventsOfWhole(stream []byte, bound int) (events []Event, boundary int) {
	var e Event
	hasData := false
	lines, ends := linesOf(stream)
	for i, text := range lines {
		if len(text) == 0 {
			boundary, e.End = ends[i], ends[i]
			if !NeedsData(e.Name) {
				e.Data, e.Truncated = nil, false
			}
			if e.Named || hasData {
				events = append(events, e)
			}
			e, hasData = Event{}, false
			continue
		}
		field, value, _ := bytes.Cut(text, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.Named = true
			e.Name = string(value[:min(len(value), maxEventName)])
			if !NeedsData(e.Name) && len(e.Data) > 0 {
				e.Data, e.Truncated = nil, true
			}
		case "data":
			if hasData {
				value = append([]byte("\n"), value...)
			}
			hasData = true
			if e.Named && !NeedsData(e.Name) {
				e.Truncated = true
				continue
			}
			kept := min(len(value), bound-len(e.Data))
			e.Data = append(e.Data, value[:kept]...)
			e.Truncated = e.Truncated || kept < len(value)
		}
	}
	return events, boundary
}

func BenchmarkEventScanner(b *testing.B) {
	stream := messageStream(1000)
	for _, size := range []int{256, 32 << 10} {
		b.Run(fmt.Sprintf("pieces of %d", size), func(b *testing.B) {
			s := EventScanner{KeepData: NeedsData}
			events := 0
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				for piece := range slices.Chunk(stream, size) {
					s.Feed(piece, func(Event) { events++ })
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
		})
	}
}

// messageStream returns a response in n deltas.
func messageStream(n int) []byte {
	var b bytes.Buffer
	event := func(name, data string) {
		fmt.Fprintf(&b, "event: %s\ndata: {\"type\":%q%s}\n\n", name, name, data)
	}
	event("message_start", `,"message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5","content":[],"stop_reason":null,`+
		`"usage":{"input_tokens":12,"cache_creation_input_tokens":300,"cache_read_input_tokens":90000,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":1,"service_tier":"standard"}}`)
	event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
	event("ping", "")
	for range n {
		event("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":" and so the answer goes on"}`)
	}
	event("content_block_stop", `,"index":0`)
	event("message_delta", `,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":421}`)
	event("message_stop", "")
	return b.Bytes()
}

package claude

import "bytes"

// maxResult bounds the memory for one result of a batch.
const maxResult = 4 << 20

// BatchResults reads the results of a batch (message batches API): one JSON object per line, in
// pieces of any size. Not safe for concurrent use.
type BatchResults struct {
	OnMessage func(*Message) // called for each message; it may not keep it
	Skipped   int            // number of lines that were too long

	line []byte
	long bool // the line is too long
}

// Feed processes the next bytes.
func (r *BatchResults) Feed(p []byte) {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			r.add(p)
			return
		}
		r.add(p[:i])
		r.End()
		p = p[i+1:]
	}
}

func (r *BatchResults) add(p []byte) {
	if r.long || len(r.line)+len(p) > maxResult {
		r.long, r.line = true, nil
		return
	}
	r.line = append(r.line, p...)
}

// End ends the current line. The caller calls it after the last bytes, because the last line may
// have no line feed.
func (r *BatchResults) End() {
	if r.long {
		r.Skipped++
	}
	s := scanner{text: r.line}
	for name := range s.document {
		if string(name) != "result" {
			continue
		}
		for name := range s.members {
			if string(name) != "message" {
				continue
			}
			if m, ok := ParseMessage(s.value()); ok {
				r.OnMessage(&m)
			}
		}
	}
	r.line, r.long = r.line[:0], false
}

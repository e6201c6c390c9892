package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// pasted is a response as copied from a terminal.
type pasted struct {
	status     int // of the status line; 0 without one
	lineStatus int // the likely status in a line without a header; 0 if there is no candidate
	header     http.Header
	body       []byte
	err        *claude.Error // of the body, if it is an error of the API
	event      bool          // err came in an event of a stream
	content    bool          // the body is a message, or a stream with the beginning of one
}

// parsePaste parses the output of curl -i or curl -v, a body alone, events of a stream, or a line
// in which a client shows an error.
func parsePaste(text []byte) (pasted, error) {
	text = bytes.ReplaceAll(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
	p := pasted{header: http.Header{}, body: skipToHeader(bytes.TrimLeft(onlyReceived(text), "\n \t"))}
	statusLine := regexp.MustCompile(`^HTTP/[0-9](?:\.[0-9])? ([0-9]{3})(?: ([^\n]*))?(?:\n|$)`)
	var phrase []byte
	for { // the last header counts: earlier ones are of a proxy, a redirect or a 100
		first := statusLine.FindSubmatch(p.body)
		if first == nil {
			break
		}
		p.status, _ = strconv.Atoi(string(first[1]))
		phrase = first[2]
		lines, body := cutHeader(p.body[len(first[0]):])
		header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(bytes.Clone(lines), "\n\n"...)))).ReadMIMEHeader()
		if err != nil {
			return p, errors.New("the response header cannot be read: a status line, header lines and an empty line are expected")
		}
		p.header, p.body = http.Header(header), bytes.TrimLeft(body, "\n")
	}
	p.readBody()
	switch {
	case p.err != nil || p.content:
	case p.status == 0:
		p.readLine(p.body)
	case len(p.body) == 0:
		p.readLine(phrase)
	}
	return p, nil
}

// cutHeader separates the header lines from the body. The empty line between them may be missing:
// it gets lost when people copy.
func cutHeader(text []byte) (lines, body []byte) {
	for end := 0; end < len(text); {
		line, _, _ := bytes.Cut(text[end:], []byte("\n"))
		if len(line) == 0 || line[0] == '{' || line[0] == '<' {
			return text[:end], text[end:]
		}
		end = min(end+len(line)+1, len(text))
	}
	return text, nil
}

// skipToHeader removes the text before the status line, such as the command that was typed.
func skipToHeader(text []byte) []byte {
	statusLine := regexp.MustCompile(`(?m)^HTTP/[0-9](?:\.[0-9])? [0-9]{3}\b`).FindIndex(text)
	if statusLine == nil || bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("event:")) {
		return text
	}
	return text[statusLine[0]:]
}

// onlyReceived extracts the received lines from the output of curl -v, and returns any other text
// unchanged.
func onlyReceived(text []byte) []byte {
	if !regexp.MustCompile(`(?m)^< HTTP/`).Match(text) {
		return text
	}
	var out []byte
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "< "):
			out = append(out, line[2:]...)
		case strings.TrimSpace(line) == "<":
			out = append(out, '\n')
		case strings.HasPrefix(line, "* "), strings.HasPrefix(line, "> "), strings.TrimSpace(line) == ">",
			strings.HasPrefix(line, "{ ["), strings.HasPrefix(line, "} ["):
		default:
			out = append(out, line...)
		}
	}
	return out
}

// readBody parses the body as a plain response, or else as events of a stream.
func (p *pasted) readBody() {
	if e, ok := claude.ParseError(p.body); ok {
		p.err = &e
		return
	}
	if json.Valid(p.body) {
		p.content = isResponse(p.body) || p.status == 0 && claude.IsObject(p.body)
		return
	}
	var m claude.Message
	s := claude.EventScanner{KeepData: claude.NeedsData}
	s.Feed(append(bytes.Clone(p.body), "\n\n"...), m.Observe)
	p.err, p.event, p.content = m.Err, m.Err != nil, m.Content || m.Delta && !m.Empty()
	if p.event {
		p.body = m.ErrData
	}
}

// isResponse reports whether a JSON text is a successful response on one of the paths whose
// responses are checked.
func isResponse(body []byte) bool {
	if m, ok := claude.ParseMessage(body); ok {
		return !m.Empty()
	}
	return claude.IsTokenCount(body) || claude.IsModelList(body) || claude.IsModel(body)
}

// unusableReason describes a body that is neither a message nor an error.
func (p *pasted) unusableReason() string {
	switch body := bytes.TrimSpace(p.body); {
	case len(body) == 0:
		return "it is empty"
	case body[0] == '<':
		return "a web page, not a message of the API"
	default:
		return "not a message of the API"
	}
}

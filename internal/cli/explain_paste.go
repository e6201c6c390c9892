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

// pasted is an answer as somebody copied it from a terminal.
type pasted struct {
	status  int // 0 when the text has no head
	said    int // what a line without a head seems to call the status; 0 when nothing looks like one
	header  http.Header
	body    []byte
	claimed *claude.Error // what the body says, if it is an error of the API
	event   bool          // claimed came in an event of a stream
	content bool          // the body is a message, or a stream that has begun to be one
}

// parsePaste reads what curl -i or curl -v printed, a body alone, events of a
// stream, or a line in which a client shows an error.
func parsePaste(text []byte) (pasted, error) {
	text = bytes.ReplaceAll(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
	a := pasted{header: http.Header{}, body: fromHead(bytes.TrimLeft(onlyReceived(text), "\n \t"))}
	statusLine := regexp.MustCompile(`^HTTP/[0-9](?:\.[0-9])? ([0-9]{3})(?: ([^\n]*))?(?:\n|$)`)
	var phrase []byte
	for { // the last head counts: those before it are of a proxy, a redirect or a 100
		head := statusLine.FindSubmatch(a.body)
		if head == nil {
			break
		}
		a.status, _ = strconv.Atoi(string(head[1]))
		phrase = head[2]
		lines, rest := cutHead(a.body[len(head[0]):])
		header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(bytes.Clone(lines), "\n\n"...)))).ReadMIMEHeader()
		if err != nil {
			return a, errors.New("the head of the answer cannot be read: a status line, header lines and an empty line are expected")
		}
		a.header, a.body = http.Header(header), bytes.TrimLeft(rest, "\n")
	}
	a.read()
	switch {
	case a.claimed != nil || a.content:
	case a.status == 0:
		a.readLine(a.body)
	case len(a.body) == 0:
		a.readLine(phrase)
	}
	return a, nil
}

// cutHead parts the header lines from the body. The empty line between them gets lost when people copy.
func cutHead(text []byte) (lines, body []byte) {
	for end := 0; end < len(text); {
		line, _, _ := bytes.Cut(text[end:], []byte("\n"))
		if len(line) == 0 || line[0] == '{' || line[0] == '<' {
			return text[:end], text[end:]
		}
		end = min(end+len(line)+1, len(text))
	}
	return text, nil
}

// fromHead leaves out what stands before the head of an answer, such as the command that was typed.
func fromHead(text []byte) []byte {
	head := regexp.MustCompile(`(?m)^HTTP/[0-9](?:\.[0-9])? [0-9]{3}\b`).FindIndex(text)
	if head == nil || bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("event:")) {
		return text
	}
	return text[head[0]:]
}

// onlyReceived picks what was received out of the marked lines of curl -v, and returns every other text as it is.
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

// read takes the body as a plain answer, or else as events of a stream.
func (a *pasted) read() {
	if e, ok := claude.ParseError(a.body); ok {
		a.claimed = &e
		return
	}
	if json.Valid(a.body) {
		a.content = isAnswer(a.body) || a.status == 0 && claude.IsObject(a.body)
		return
	}
	var m claude.Message
	s := claude.EventScanner{KeepData: claude.NeedsData}
	s.Feed(append(bytes.Clone(a.body), "\n\n"...), m.Observe)
	a.claimed, a.event, a.content = m.Err, m.Err != nil, m.Content || m.Delta && !m.Empty()
	if a.event {
		a.body = m.ErrData
	}
}

// isAnswer reports whether a JSON text is a successful response on one of the paths whose responses are checked.
func isAnswer(body []byte) bool {
	if m, ok := claude.ParseMessage(body); ok {
		return !m.Empty()
	}
	return claude.IsTokenCount(body) || claude.IsModelList(body) || claude.IsModel(body)
}

// oddity says what a body is that is neither a message nor an error.
func (a *pasted) oddity() string {
	switch body := bytes.TrimSpace(a.body); {
	case len(body) == 0:
		return "nothing in it"
	case body[0] == '<':
		return "a web page, no message of the API"
	default:
		return "no message of the API"
	}
}

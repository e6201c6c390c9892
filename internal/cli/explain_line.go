package cli

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// maxBraces limits how many objects of a line are parsed.
const maxBraces = 100

// readLine reads an error as clients and logs show it: a status, then the body, in a line with
// other words, such as "API Error: 529 {…}".
func (p *pasted) readLine(text []byte) {
	e, body := errorIn(text)
	if e != nil {
		p.err, p.body = e, body
	}
	before, after, _ := bytes.Cut(text, body)
	if body == nil {
		before, _, _ = bytes.Cut(text, []byte("{"))
	}
	if p.lineStatus = statusIn(before); p.lineStatus == 0 {
		p.lineStatus = statusIn(after)
	}
}

// errorIn finds the first error of the API in a text.
func errorIn(text []byte) (e *claude.Error, body []byte) {
	for range maxBraces {
		begin := bytes.IndexByte(text, '{')
		if begin < 0 {
			break
		}
		text = text[begin:]
		var object json.RawMessage
		if json.NewDecoder(bytes.NewReader(text)).Decode(&object) == nil {
			if e, ok := claude.ParseError(object); ok {
				return &e, object
			}
		}
		text = text[1:]
	}
	return nil, nil
}

// statusIn finds the status of an error in a text, or returns 0. Parts of larger numbers and ports
// do not count.
func statusIn(text []byte) int {
	number := regexp.MustCompile(`(?i)(?:^|[\s("'=]|(?:status|code):)([45][0-9]{2})(?:$|[\s)"',:;.])`).FindSubmatch(text)
	if number == nil {
		return 0
	}
	status, _ := strconv.Atoi(string(number[1]))
	return status
}

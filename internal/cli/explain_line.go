package cli

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// maxBraces bounds how many objects are looked at in a line.
const maxBraces = 100

// readLine reads an error as clients and logs show it: a status, and the body
// behind it, in a line with other words, such as "API Error: 529 {…}".
func (a *pasted) readLine(text []byte) {
	e, body := errorIn(text)
	if e != nil {
		a.claimed, a.body = e, body
	}
	before, after, _ := bytes.Cut(text, body)
	if body == nil {
		before, _, _ = bytes.Cut(text, []byte("{"))
	}
	if a.said = statusIn(before); a.said == 0 {
		a.said = statusIn(after)
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

// statusIn finds the status of an error in a text, 0 if there is none. A part of a larger number is none, nor is a port.
func statusIn(text []byte) int {
	number := regexp.MustCompile(`(?i)(?:^|[\s("'=]|(?:status|code):)([45][0-9]{2})(?:$|[\s)"',:;.])`).FindSubmatch(text)
	if number == nil {
		return 0
	}
	status, _ := strconv.Atoi(string(number[1]))
	return status
}

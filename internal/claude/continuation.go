package claude

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
)

const (
	// maxContinuationIDs bounds the number of ids of one request or response.
	maxContinuationIDs = 8
	// maxContinuationID bounds the length of an id. Tokens that resume a stream are shorter.
	maxContinuationID = 4 << 10
	// maxSearchedText bounds the size of a text that is searched for ids of messages.
	maxSearchedText = 64 << 10
)

// continuationIDs collects the ids and tokens by which a request continues an earlier response, or
// by which later requests may continue a response. One account keeps their state.
type continuationIDs []string

func (f *continuationIDs) add(name string) {
	const least = 4
	if len(*f) < maxContinuationIDs && least <= len(name) && len(name) <= maxContinuationID {
		*f = append(*f, name)
	}
}

// addStrings adds a JSON value: a string, or all strings in it except the values of type.
func (f *continuationIDs) addStrings(value []byte) {
	s := scanner{text: value}
	if s.peek() == '"' {
		if name, ok := s.string(); ok {
			f.add(name)
		}
		return
	}
	for name := range s.within {
		if s.peek() != '"' {
			continue
		}
		if text, ok := s.string(); ok && string(name) != "type" {
			f.add(text)
		}
	}
}

// addMessageIDs adds the ids of messages in a text, such as a path or JSON.
func (f *continuationIDs) addMessageIDs(text []byte) {
	const start = "msg_"
	if len(text) > maxSearchedText {
		return
	}
	for i := 0; ; {
		at := bytes.Index(text[i:], []byte(start))
		if at < 0 {
			return
		}
		begin := i + at
		i = begin + len(start)
		for i < len(text) && isIDByte(text[i]) {
			i++
		}
		if i > begin+len(start) && i-begin <= maxID && (begin == 0 || !isIDByte(text[begin-1])) {
			f.add(string(text[begin:i]))
		}
	}
}

// MessageIDsIn lists the ids of messages in a path, its query and the headers of Anthropic and
// Claude Code.
func MessageIDsIn(u *url.URL, h http.Header) []string {
	var f continuationIDs
	f.addMessageIDs([]byte(u.Path))
	f.addMessageIDs([]byte(u.RawQuery))
	for name, values := range h {
		if !strings.HasPrefix(name, "Anthropic-") && !strings.HasPrefix(name, "X-Claude-") {
			continue
		}
		for _, value := range values {
			f.addMessageIDs([]byte(value))
		}
	}
	return f
}

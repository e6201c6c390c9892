package claude

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
)

const (
	// maxFollowed bounds the names of one request or response.
	maxFollowed = 8
	// maxFollowedName bounds a name. Tokens that resume a stream should be shorter.
	maxFollowedName = 4 << 10
	// maxMentions bounds the text that is searched for ids of messages.
	maxMentions = 64 << 10
)

// followed collects the names by which a request continues an earlier response, or by which later
// requests may continue a response: ids of messages, and tokens. One account keeps their state.
type followed []string

func (f *followed) add(name string) {
	const least = 4
	if len(*f) < maxFollowed && least <= len(name) && len(name) <= maxFollowedName {
		*f = append(*f, name)
	}
}

// addStrings takes a JSON value: a string, or all strings in it but those of type.
func (f *followed) addStrings(value []byte) {
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

// addMessageIDs takes the ids of messages in a text, such as a path or JSON.
func (f *followed) addMessageIDs(text []byte) {
	const start = "msg_"
	if len(text) > maxMentions {
		return
	}
	for i := 0; ; {
		at := bytes.Index(text[i:], []byte(start))
		if at < 0 {
			return
		}
		begin := i + at
		i = begin + len(start)
		for i < len(text) && inID(text[i]) {
			i++
		}
		if i > begin+len(start) && i-begin <= maxID && (begin == 0 || !inID(text[begin-1])) {
			f.add(string(text[begin:i]))
		}
	}
}

func inID(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// MessageIDsIn lists the ids of messages in a path, its query and the headers of Anthropic and
// Claude Code.
func MessageIDsIn(u *url.URL, h http.Header) []string {
	var f followed
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

package claude

import (
	"bytes"
	"encoding/json"
	"strings"
)

// isEventType reports whether the API documents events of this type.
func isEventType(name string) bool {
	switch name {
	case "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop", "ping", "error":
		return true
	}
	return false
}

// NeedsData reports whether Kind, Observe and Relabel need the data of an event with this name.
func NeedsData(name string) bool {
	switch name {
	case "content_block_delta", "content_block_stop", "ping":
		return false
	}
	return true
}

// Kind returns the documented type of the event, "" if it has none. It is the event's name. If the
// name is missing, as in streams with only data: lines, or not documented, it is the type in the
// data. An object without name and type that contains an error, as many relays send it, is an error
// event.
func (e Event) Kind() string {
	if isEventType(e.Name) {
		return e.Name
	}
	if !bytes.HasPrefix(bytes.TrimLeft(e.Data, " \t\r\n"), []byte("{")) {
		return ""
	}
	kind, typed := "", false
	s := scanner{text: e.Data}
	for name := range s.document {
		if string(name) == "type" {
			typed = true
			s.replace(&kind)
		}
	}
	switch {
	case s.err != nil && !e.Truncated:
		return ""
	case isEventType(kind):
		return kind
	case !e.Named && !typed:
		if _, ok := ParseError(e.Data); ok {
			return "error"
		}
	}
	return ""
}

// Relabel returns the name that the event needs so that the official SDKs read it correctly, or ""
// if it has the right one. The SDKs skip events without a name, and the Go and older TypeScript
// SDKs skip unknown names: such an event gets the type in its data as its name. The SDKs fail at a
// named event other than ping whose data is not JSON (a [DONE], or free text): such an event
// becomes a ping, whose data they do not read.
func (e Event) Relabel() string {
	if isEventType(e.Name) {
		return ""
	}
	if kind := e.Kind(); kind != "" {
		return kind
	}
	if e.Named && len(e.Data) > 0 && !e.Truncated && !IsObject(e.Data) {
		return "ping"
	}
	return ""
}

// Malformed reports whether the official SDKs fail to read the data of an event of the API. Data
// that was not kept counts as valid.
func (e Event) Malformed() bool {
	switch e.Name {
	case "", "ping", "error":
		return false
	}
	return isEventType(e.Name) && len(e.Data) > 0 && !e.Truncated && !json.Valid(e.Data)
}

// Foreign reports whether the event belongs to the stream of another API: one of the two of OpenAI,
// or that of Gemini.
func (e Event) Foreign() bool {
	if isEventType(e.Name) || len(e.Data) == 0 {
		return false
	}
	foreign := strings.HasPrefix(e.Name, "response.")
	s := scanner{text: e.Data}
	for name := range s.document {
		switch string(name) {
		case "choices", "candidates":
			foreign = foreign || s.peek() == '['
		case "type":
			kind, _ := s.string()
			foreign = foreign || strings.HasPrefix(kind, "response.")
		}
	}
	return foreign
}

// IsObject reports whether data is one complete JSON object and nothing else.
func IsObject(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) && json.Valid(data)
}

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

// WantedEvent reports whether Kind, Observe and Relabel read the data of an event with this name; of the others the name is enough.
func WantedEvent(name string) bool {
	switch name {
	case "content_block_delta", "content_block_stop", "ping":
		return false
	}
	return true
}

// Kind is the documented type of the event, "" if it has none. That is its name; where the name is missing, as in
// streams that have only data: lines, or is not a documented one, it is the type that the data states. An object
// without a name and a type that states an error, as many relays send it, is an error event.
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

// Relabel returns the name that the event needs so that a client built on an official SDK reads it right, and "" when
// it may stay as it is. The SDKs skip events without a name, and the Go and older TypeScript ones those with an unknown
// one: such an event gets the name that goes with the type in its data. They fail at a named event, a ping aside, whose
// data is not JSON (a [DONE], a text for people): such an event becomes a ping, whose data they do not read.
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

// Malformed reports whether the official SDKs fail to read the data of an event of the API. Data that was not kept
// counts as sound.
func (e Event) Malformed() bool {
	switch e.Name {
	case "", "ping", "error":
		return false
	}
	return isEventType(e.Name) && len(e.Data) > 0 && !e.Truncated && !json.Valid(e.Data)
}

// Foreign reports whether the event belongs to the stream of another API: to one of the two of OpenAI, or Gemini's.
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

// IsObject reports whether data is one whole JSON object, and neither a part of one nor followed by something.
func IsObject(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) && json.Valid(data)
}

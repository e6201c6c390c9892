package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// relabeling is an event name that is added so that SDK clients read the event.
type relabeling struct {
	at   int // offset of the blank line that ends the event, in buffered or in the buffer of the relay
	name string
}

// observe processes an event that ended in the bytes that begin at a.offset.
func (a *attempt) observe(ev claude.Event) {
	if a.message.Stopped && ev.Name != "error" && ev.Kind() == "error" {
		return // the SDKs skip it, and the message is complete
	}
	a.message.Observe(ev)
	if name := ev.Relabel(); name != "" {
		a.relabelings = append(a.relabelings, relabeling{a.offset + ev.Blank, name})
	}
}

// missingEnd ends an event whose last line or blank line is missing.
const missingEnd = "\n\n"

// lastUnended reports whether a stream that has ended lacks only the blank line after its last
// event, which is the end of the message or an error. Clients built on an official SDK would not
// see that event.
func (a *attempt) lastUnended() bool {
	if a.hasEnded() || !a.events.InEvent() {
		return false
	}
	ev := a.events.Incomplete()
	kind := ev.Kind()
	return (kind == "message_stop" || kind == "error") && !ev.Truncated && claude.IsObject(ev.Data)
}

// opening collects facts about the events of a stream before its first content.
type opening struct {
	payload   int  // bytes of data, without pings
	largest   int  // bytes of data of the largest event
	malformed bool // an event has come that the official SDKs cannot read
	early     bool // a part of a message has come before message_start
	foreign   bool // the stream is of another API
}

func (o *opening) observe(ev claude.Event, kind string, started bool) {
	if kind != "ping" {
		o.payload += ev.Size
	}
	o.largest = max(o.largest, ev.Size)
	if ev.Truncated && kind != "ping" {
		o.payload = max(o.payload, maxStreamStart)
	}
	o.malformed = o.malformed || ev.Malformed()
	switch kind {
	case "message_start", "error", "ping":
	case "":
		o.foreign = o.foreign || !started && ev.Foreign()
	default:
		o.early = o.early || !started && ev.Size > 0
	}
}

// problem returns an error if the stream cannot be a valid response.
func (o *opening) problem() error {
	switch {
	case o.malformed:
		return fmt.Errorf("%w: an event that is not JSON", verdict.ErrUnusable)
	case o.early:
		return fmt.Errorf("%w: content without message_start", verdict.ErrUnusable)
	case o.foreign:
		return fmt.Errorf("%w: a stream of another API", verdict.ErrUnusable)
	}
	return nil
}

// hasProof reports whether the upstream works: it has sent content, or an end that explains why it
// has no content.
func (a *attempt) hasProof() bool {
	return a.message.Started && (a.message.Content || a.message.Delta && !a.isEmpty())
}

// bufferStream reads until the upstream has proven that it works. message_start, pings and comments
// prove nothing, because errors may follow them. The first event of the API must be message_start,
// and until the proof the official SDKs must be able to read every event. A stream of other events
// is accepted when they exceed the bound.
func (a *attempt) bufferStream() (*claude.Error, error) {
	var o opening
	observe := func(ev claude.Event) {
		if !a.hasProof() {
			kind := ev.Kind()
			o.observe(ev, kind, a.message.Started)
			a.activity.observe(kind)
		}
		a.observe(ev)
	}
	defer func() { a.events.KeepData = claude.NeedsData }()
	ended := a.complete
	a.complete = false // an error event may be added, so the length is unknown
	var err error
	for fed := 0; ; {
		a.offset = fed
		boundary := a.events.Feed(a.buffered[fed:], observe)
		if (ended || err != nil) && a.lastUnended() {
			a.offset = len(a.buffered)
			a.buffered = append(a.buffered, missingEnd...)
			boundary = a.offset - fed + a.events.Feed(a.buffered[a.offset:], observe)
		}
		if boundary > 0 {
			a.eventEnd = fed + boundary
		}
		fed = len(a.buffered)
		settled := len(a.buffered) - a.unfinished() // complete events and comments
		switch {
		case a.message.Err != nil:
			return a.message.Err, nil
		case o.problem() != nil:
			a.wrongShape = o.foreign
			return nil, o.problem()
		case a.hasProof():
			return nil, nil
		case a.message.Stopped && a.message.Delta:
			a.wrongShape = true
			return nil, errEmpty()
		case a.message.Stopped, ended, errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: the stream ended before its content", verdict.ErrUnusable)
		case err != nil:
			return nil, err
		case settled-o.largest >= maxStreamStart || a.unfinished() >= maxOpenEvent:
			if a.message.Started && o.payload+a.unfinished() >= maxStreamStart/2 {
				return nil, nil // a long stream of unknown events
			}
			return nil, fmt.Errorf("%w: no content within %d KB", verdict.ErrUnusable, maxStreamStart>>10)
		}
		a.noteActivity(boundary > 0)
		_, err = a.readMore(maxStreamStart + maxOpenEvent)
	}
}

// unfinished is the length of an incomplete event, 0 for a comment.
func (a *attempt) unfinished() int {
	rest := a.buffered[a.eventEnd:]
	if bytes.HasPrefix(rest, []byte(":")) {
		return 0
	}
	return len(rest)
}

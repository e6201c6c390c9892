package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/upstream"
)

const (
	maxHeldError  = 1 << 20   // of an error's body
	maxHeldPlain  = 16 << 20  // of a plain answer
	maxHeldStream = 256 << 10 // of a stream before its first content
	readStep      = 16 << 10
	sniffed       = 6        // bytes that tell what an answer is, blanks before them left out
	maxBlank      = 64 << 10 // before them

	// errorLimit is how long the body of an error is waited for: the status has said most of it.
	errorLimit = 3 * time.Second
)

// hold reads as much of the answer as the verdict needs: an error's body, the
// whole of a plain answer, a stream up to its first content. It returns the
// error that the answer itself states, and its own error when the answer broke
// off or is none.
func (a *answer) hold(k kind) (*claude.Error, error) {
	if err := a.decode(k); err != nil {
		return nil, err
	}
	switch {
	case a.res.StatusCode >= http.StatusBadRequest:
		return a.holdError()
	case k == kindOther:
		return nil, nil
	case k == kindResource:
		return nil, a.holdResource(a.res.Request.Method)
	case a.res.StatusCode != http.StatusOK: // a 204 or a redirect is no answer to a message
		return nil, fmt.Errorf("%w: status %d", upstream.ErrUnusable, a.res.StatusCode)
	}
	if err := a.sniff(); err != nil {
		return nil, err
	}
	// Some relays label their streams as plain text: what an answer is, its first bytes tell.
	a.stream = looksLikeEvents(a.held)
	switch {
	case a.stream && (k == kindStream || k == kindEither):
		return a.holdStream()
	case a.stream:
		return nil, fmt.Errorf("%w: a stream where a plain answer was asked for", upstream.ErrUnusable)
	default:
		return a.holdPlain(k)
	}
}

// sniff reads as much as tells what the answer is.
func (a *answer) sniff() error {
	for !a.whole && len(bytes.TrimLeft(a.held, " \t\r\n")) < sniffed && len(a.held) < maxBlank {
		if _, err := a.readMore(maxBlank); err != nil {
			if a.whole = errors.Is(err, io.EOF); !a.whole {
				return err
			}
		}
	}
	return nil
}

// looksLikeEvents tells a stream of events by its beginning: the name of a field, a comment, or an empty line.
func looksLikeEvents(b []byte) bool {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\ufeff")), "\r\n")
	for _, field := range [...]string{"event:", "data:", ":", "id:", "retry:"} {
		if n := min(len(b), len(field)); n > 0 && string(b[:n]) == field[:n] {
			return true
		}
	}
	return false
}

func (a *answer) holdError() (*claude.Error, error) {
	a.watch.expect(forFirst, &upstream.TimeoutError{Waiting: "error text", After: errorLimit})
	broken := a.fill(maxHeldError)
	if broken != nil && a.client.Err() != nil {
		return nil, broken
	}
	claimed, ok := claude.ParseError(a.held)
	if broken != nil {
		// The status of a failure that is not the request's says it all. A refusal of the request
		// without its text would leave the client with nothing.
		if !ok && ownFault(a.res.StatusCode) {
			return nil, broken
		}
		a.whole = true
	}
	if ok {
		return &claimed, nil
	}
	return nil, nil
}

// ownFault says whether a status may be about the request itself.
func ownFault(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusTooManyRequests:
		return false
	}
	return status < http.StatusInternalServerError
}

func (a *answer) holdPlain(k kind) (*claude.Error, error) {
	if !a.whole && !beginsObject(a.held) {
		return nil, errNotJSON() // however much more of it there is
	}
	if err := a.fill(maxHeldPlain); err != nil {
		return nil, err
	}
	message, ok := claude.ParseMessage(a.held)
	if !ok && a.whole && !isObject(a.held) {
		return nil, errNotJSON()
	}
	if ok {
		if k == kindStream {
			return nil, fmt.Errorf("%w: a plain answer where a stream was asked for", upstream.ErrUnusable)
		}
		a.message = message
	} else if claimed, ok := claude.ParseError(a.held); ok {
		return &claimed, nil
	}
	return nil, nil
}

func errNotJSON() error { return fmt.Errorf("%w: not a JSON object", upstream.ErrUnusable) }

// isObject tells a whole JSON object from a page, from nothing, and from one that was cut off cleanly.
func isObject(b []byte) bool { return beginsObject(b) && json.Valid(b) }

func beginsObject(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
}

// fill reads until the end of the body or the bound.
func (a *answer) fill(bound int) error {
	for len(a.held) < bound && !a.whole {
		n, err := a.readMore(bound)
		if n == 0 && err == nil {
			continue
		}
		if err != nil {
			a.whole = errors.Is(err, io.EOF)
			if a.whole {
				return nil
			}
			return err
		}
	}
	return nil
}

// readMore appends one read to what is held.
func (a *answer) readMore(bound int) (int, error) {
	if len(a.held) == cap(a.held) {
		a.held = append(make([]byte, 0, a.nextSize()), a.held...)
	}
	room := a.held[len(a.held):min(len(a.held)+readStep, cap(a.held))]
	n, err := a.read(room[:min(len(room), bound-len(a.held))])
	a.held = a.held[:len(a.held)+n]
	return n, err
}

// nextSize is how much to hold next: as much as the answer says that it has, if that is little, else twice as much as now.
func (a *answer) nextSize() int {
	const least = 2 << 10
	if told := a.res.ContentLength; cap(a.held) == 0 && 0 < told && told < readStep && !a.decoded {
		return int(told) + 1 // one more, to see the end in the same read
	}
	return max(2*cap(a.held), least)
}

// unfinished is the length of the event that has only begun, 0 for a comment.
func (a *answer) unfinished() int {
	rest := a.held[a.eventEnd:]
	if bytes.HasPrefix(rest, []byte(":")) {
		return 0
	}
	return len(rest)
}

// holdStream reads until the upstream proves that it answers: message_start
// alone, pings and comments prove nothing, for errors come after them. Up to
// there every event must be sound. Other events are believed when they have filled the bound.
func (a *answer) holdStream() (*claude.Error, error) {
	malformed, said := false, 0
	observe := func(ev claude.Event) {
		if ev.Name != "ping" {
			said += len(ev.Data)
		}
		if ev.Truncated {
			said = maxHeldStream
		}
		proven := a.message.Content || a.message.Delta
		malformed = malformed || !proven && len(ev.Data) > 0 && !ev.Truncated && !json.Valid(ev.Data)
		a.message.Observe(ev)
	}
	defer func() { a.events.Want = claude.WantedEvent }()
	ended := a.whole
	a.whole = false // what a broken stream ends with is added to it
	var err error
	for fed := 0; ; {
		if boundary := a.events.Feed(a.held[fed:], observe); boundary > 0 {
			a.eventEnd = fed + boundary
		}
		fed = len(a.held)
		proven := a.message.Content || a.message.Delta
		switch {
		case malformed:
			return nil, fmt.Errorf("%w: an event that is not JSON", upstream.ErrUnusable)
		case a.message.Err != nil:
			return a.message.Err, nil
		case proven && !a.message.Started:
			return nil, fmt.Errorf("%w: content without message_start", upstream.ErrUnusable)
		case proven:
			return nil, nil
		case ended, errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: the stream ended before its content", upstream.ErrUnusable)
		case err != nil:
			return nil, err
		case len(a.held) >= maxHeldStream && said+a.unfinished() >= maxHeldStream/2:
			return nil, nil // it says a lot, in words that are not known yet
		case len(a.held) >= maxHeldStream:
			return nil, fmt.Errorf("%w: no content within %d KB", upstream.ErrUnusable, maxHeldStream>>10)
		}
		_, err = a.readMore(maxHeldStream)
	}
}

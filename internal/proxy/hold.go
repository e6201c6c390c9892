package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/upstream"
)

const (
	maxHeldError  = 1 << 20   // of an error's body
	maxHeldPlain  = 16 << 20  // of a plain answer
	maxHeldStream = 256 << 10 // of a stream before its first content
	readStep      = 16 << 10
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
	case a.res.StatusCode != http.StatusOK: // a 204 or a redirect is no answer to a message
		return nil, fmt.Errorf("%w: status %d", upstream.ErrUnusable, a.res.StatusCode)
	case a.isEventStream():
		return a.holdStream()
	default:
		return a.holdPlain(k)
	}
}

func (a *answer) holdError() (*claude.Error, error) {
	broken := a.fill(maxHeldError)
	if broken != nil && a.client.Err() != nil {
		return nil, broken
	}
	claimed, ok := claude.ParseError(a.held)
	if broken != nil {
		// The status of a server's own failure says it all. A refusal of the request without its
		// text would leave the client with nothing.
		if !ok && a.res.StatusCode < http.StatusInternalServerError {
			return nil, broken
		}
		a.whole = true
	}
	if ok {
		return &claimed, nil
	}
	return nil, nil
}

func (a *answer) holdPlain(k kind) (*claude.Error, error) {
	if err := a.fill(maxHeldPlain); err != nil {
		return nil, err
	}
	if a.whole && !isObject(a.held) {
		return nil, fmt.Errorf("%w: not a JSON object", upstream.ErrUnusable)
	}
	if message, ok := claude.ParseMessage(a.held); ok {
		a.message = message
	} else if claimed, ok := claude.ParseError(a.held); ok {
		return &claimed, nil
	}
	return nil, nil
}

// isObject tells a whole JSON object from a page, from nothing, and from one that was cut off cleanly.
func isObject(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) && json.Valid(b)
}

// fill reads until the end of the body or the bound.
func (a *answer) fill(bound int) error {
	for len(a.held) < bound {
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
	if len(a.held)+readStep > cap(a.held) {
		a.held = append(make([]byte, 0, max(2*cap(a.held), readStep)+readStep), a.held...)
	}
	room := a.held[len(a.held):min(len(a.held)+readStep, cap(a.held))]
	n, err := a.read(room[:min(len(room), bound-len(a.held))])
	a.held = a.held[:len(a.held)+n]
	return n, err
}

// holdStream reads until the upstream proves that it answers: message_start
// alone, pings and comments prove nothing, for errors come after them. Up to
// there every event must be sound.
func (a *answer) holdStream() (*claude.Error, error) {
	malformed := false
	observe := func(ev claude.Event) {
		proven := a.message.Content || a.message.Delta
		malformed = malformed || !proven && len(ev.Data) > 0 && !ev.Truncated && !json.Valid(ev.Data)
		a.message.Observe(ev)
	}
	defer func() { a.events.Want = claude.WantedEvent }()
	for len(a.held) < maxHeldStream {
		n, err := a.readMore(maxHeldStream)
		fed := len(a.held) - n
		if boundary := a.events.Feed(a.held[fed:], observe); boundary > 0 {
			a.eventEnd = fed + boundary
		}
		switch {
		case malformed:
			return nil, fmt.Errorf("%w: an event that is not JSON", upstream.ErrUnusable)
		case a.message.Err != nil:
			return a.message.Err, nil
		case a.message.Content || a.message.Delta:
			return nil, nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: the stream ended before its content", upstream.ErrUnusable)
		case err != nil:
			return nil, err
		}
	}
	return nil, nil
}

package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	maxErrorBody   = 1 << 20   // bytes of the body of an error
	maxPlainBody   = 16 << 20  // bytes of a plain response
	maxStreamStart = 256 << 10 // bytes of events of a stream before its first content
	maxOpenEvent   = 4 << 20   // bytes of one incomplete event there: content such as search results is one event
	readStep       = 16 << 10
	sniffLength    = 6        // bytes that show what a response is, after leading blanks
	maxBlank       = 64 << 10 // bytes of leading blanks

	// errorLimit is the time limit for the body of an error. The status alone is often enough to
	// judge it.
	errorLimit = 3 * time.Second
)

// sniff reads enough bytes to see what the response is.
func (a *attempt) sniff() error {
	for !a.complete && len(bytes.TrimLeft(a.buffered, " \t\r\n")) < sniffLength && len(a.buffered) < maxBlank {
		if _, err := a.readMore(maxBlank); err != nil {
			if a.complete = errors.Is(err, io.EOF); !a.complete {
				return err
			}
		}
	}
	return nil
}

// isConditional reports whether a request asks for a response only if it has changed.
func isConditional(r *http.Request) bool {
	return r.Method == http.MethodGet && (r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Modified-Since") != "")
}

// dropByteOrderMark removes a byte order mark from the beginning of a response. JSON and event
// streams may begin with one, but not every client can read them then, and after keep-alive
// comments it would not be at the beginning.
func (a *attempt) dropByteOrderMark() {
	if rest, found := bytes.CutPrefix(a.buffered, []byte("\ufeff")); found {
		a.buffered = rest
		a.res.Header.Del("Content-Length")
	}
}

// looksLikeEvents reports whether b begins like an event stream: with the name of a field, a
// comment, or an empty line.
func looksLikeEvents(b []byte) bool {
	b = bytes.TrimLeft(b, "\r\n")
	for _, field := range [...]string{"event:", "data:", ":", "id:", "retry:"} {
		if n := min(len(b), len(field)); n > 0 && string(b[:n]) == field[:n] {
			return true
		}
	}
	return false
}

// labeledEvents reports whether the Content-Type is that of an event stream.
func (a *attempt) labeledEvents() bool {
	kind, _, _ := mime.ParseMediaType(a.res.Header.Get("Content-Type"))
	return kind == "text/event-stream"
}

// looksLikeField reports whether an event stream may begin with b. Any field name is allowed, so
// only other formats are excluded.
func looksLikeField(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && b[0] != '{' && b[0] != '[' && b[0] != '<'
}

// bufferError reads the body of an error, and returns the error of the API in it, or nil.
func (a *attempt) bufferError() (*claude.Error, error) {
	a.timeouts.expect(forFirst, &verdict.TimeoutError{Waiting: "error text", After: errorLimit})
	broken := a.fillBuffer(maxErrorBody)
	if broken != nil && a.client.Err() != nil {
		return nil, broken
	}
	claimed, ok := claude.ParseError(a.buffered)
	if broken != nil {
		// The status is enough to judge other failures. But a refusal of the request without its
		// text would not help the client, so another endpoint is tried.
		if !ok && mayBlameRequest(a.res.StatusCode) {
			return nil, broken
		}
		a.complete = true
	}
	if ok {
		return &claimed, nil
	}
	return nil, nil
}

// mayBlameRequest reports whether a status may be about the request itself.
func mayBlameRequest(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusTooManyRequests:
		return false
	}
	return status < http.StatusInternalServerError
}

// bufferPlain reads a complete JSON document. A document larger than the bound is accepted
// unchecked.
func (a *attempt) bufferPlain(k kind) (*claude.Error, error) {
	if !a.complete && !beginsObject(a.buffered) {
		return nil, errNotJSON() // no need to read the rest
	}
	if err := a.fillBuffer(maxPlainBody); err != nil {
		return nil, err
	}
	if !a.complete {
		return nil, nil
	}
	err := a.checkShape(k)
	switch {
	case err == nil:
		return nil, nil
	case !claude.IsObject(a.buffered):
		return nil, errNotJSON()
	}
	a.wrongShape = true
	if claimed, ok := claude.ParseError(a.buffered); ok {
		return &claimed, nil
	}
	return nil, err
}

// checkShape returns an error if a JSON object is not the kind of response that the request asks
// for.
func (a *attempt) checkShape(k kind) error {
	fits, want := false, ""
	switch k {
	case kindCount:
		fits, want = claude.IsTokenCount(a.buffered), "a token count"
	case kindModels:
		fits, want = claude.IsModelList(a.buffered), "a list of models"
	case kindModel:
		fits, want = claude.IsModel(a.buffered), "a model"
	default:
		a.message, fits = claude.ParseMessage(a.buffered)
		fits, want = fits && !a.message.ContentMissing, "a message"
	}
	switch {
	case !fits:
		return fmt.Errorf("%w: a JSON object that is not %s", verdict.ErrUnusable, want)
	case k == kindStream:
		return fmt.Errorf("%w: a plain response instead of a stream", verdict.ErrUnusable)
	case (k == kindPlain || k == kindEither) && a.isEmpty():
		return errEmpty()
	}
	return nil
}

// isEmpty reports whether a complete message has neither content nor output tokens. With max_tokens
// 0 such a message is valid, because the request only warms the cache.
func (a *attempt) isEmpty() bool {
	return a.message.Empty() && !(a.warming && a.message.StopReason == "max_tokens")
}

func errEmpty() error {
	return fmt.Errorf("%w: neither content nor output tokens", verdict.ErrUnusable)
}

func errNotJSON() error { return fmt.Errorf("%w: not a JSON object", verdict.ErrUnusable) }

func beginsObject(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
}

// decode undoes a compression that was not asked for.
func (a *attempt) decode(k kind) error {
	a.body = a.res.Body
	if k == kindOther {
		return nil
	}
	body, changed, err := decoded(a.res.Body, a.res.Header.Values("Content-Encoding"))
	if err != nil {
		return err
	}
	a.res.Body, a.body, a.decoded = body, body, changed
	return nil
}

// fillBuffer reads until the end of the body, but at most bound bytes.
func (a *attempt) fillBuffer(bound int) error {
	for len(a.buffered) < bound && !a.complete {
		n, err := a.readMore(bound)
		if n == 0 && err == nil {
			continue
		}
		if err != nil {
			a.complete = errors.Is(err, io.EOF)
			if a.complete {
				return nil
			}
			return err
		}
	}
	return nil
}

// readMore appends one read to buffered, which gets at most bound bytes.
func (a *attempt) readMore(bound int) (int, error) {
	if len(a.buffered) == cap(a.buffered) {
		a.buffered = append(make([]byte, 0, a.nextSize()), a.buffered...)
	}
	free := a.buffered[len(a.buffered):min(len(a.buffered)+readStep, cap(a.buffered))]
	n, err := a.read(free[:min(len(free), bound-len(a.buffered))])
	a.buffered = a.buffered[:len(a.buffered)+n]
	return n, err
}

// nextSize returns the next capacity of buffered: the Content-Length of a small response, else
// twice the present one.
func (a *attempt) nextSize() int {
	const least = 2 << 10
	if length := a.res.ContentLength; cap(a.buffered) == 0 && 0 < length && length < readStep && !a.decoded {
		return int(length) + 1 // one more, to see the end in the same read
	}
	return max(2*cap(a.buffered), least)
}

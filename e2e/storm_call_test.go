package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// call is one request of a session and its result.
type call struct {
	id        int64 // in the text of the request
	stream    bool
	began     time.Time
	took      time.Duration
	requestID string // of the answer
	err       error
	content   bool   // has arrived
	wrong     string // what is wrong with the response
}

// call sends one request.
func (s *storm) call(stream bool) call {
	c := call{id: s.last.Add(1), stream: stream, began: time.Now()}
	var got tape
	params := anthropic.MessageNewParams{Model: model, MaxTokens: 256, Messages: []anthropic.MessageParam{
		anthropic.NewUserMessage(anthropic.NewTextBlock(requestText(c.id))),
	}}
	last := ""
	if stream {
		answer := s.sdk.Messages.NewStreaming(s.t.Context(), params, option.WithMiddleware(got.record))
		for answer.Next() {
			last = answer.Current().Type
		}
		c.err = answer.Err()
		answer.Close()
	} else {
		_, c.err = s.sdk.Messages.New(s.t.Context(), params, option.WithMiddleware(got.record))
	}
	c.took = time.Since(c.began)
	c.requestID = got.header.Get("Request-Id")
	names := eventNames(got.text.Bytes())
	c.content = c.err == nil || slices.Contains(names, "content_block_start")
	switch sent, found := s.take(c.requestID); {
	case !c.content:
	case !found:
		c.wrong = "an answer that no server has given"
	case c.err == nil && stream && last != "message_stop":
		c.wrong = "a clean end after " + last
	case c.err == nil && !bytes.Equal(got.text.Bytes(), sent):
		c.wrong = fmt.Sprintf("not what was sent:\n%s\n%s", got.text.Bytes(), sent)
	case c.err != nil && !bytes.HasPrefix(sent, withoutError(got.text.Bytes())):
		c.wrong = fmt.Sprintf("not the beginning of what was sent:\n%s\n%s", got.text.Bytes(), sent)
	case c.err != nil && names[len(names)-1] != "error":
		c.wrong = fmt.Sprintf("broken off after %q: %v", names, c.err)
	}
	return c
}

func requestText(id int64) string { return fmt.Sprintf("request %07d", id) }

// take returns what was sent under a request id.
func (s *storm) take(requestID string) ([]byte, bool) {
	for _, f := range s.sites {
		if text, found := f.take(requestID); found {
			return text, true
		}
	}
	return nil, false
}

// withoutError returns a stream up to its error event.
func withoutError(stream []byte) []byte {
	end := 0
	var scanner claude.EventScanner
	scanner.Feed(stream, func(ev claude.Event) {
		if ev.Name != "error" {
			end = ev.End
		}
	})
	return stream[:end]
}

// tape records a response as it passes.
type tape struct {
	header http.Header
	text   bytes.Buffer
}

func (p *tape) record(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
	res, err := next(r)
	if err == nil {
		p.header = res.Header
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(res.Body, &p.text), res.Body}
	}
	return res, err
}

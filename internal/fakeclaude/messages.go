package fakeclaude

import (
	"fmt"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// respondMessage serves POST /v1/messages.
func (s *Server) respondMessage(c *call, f fault.Fault) response {
	model, p, refused := s.parseRequest(c, true)
	if refused != nil {
		return *refused
	}
	if p.tokens > model.MaxInputTokens {
		return invalidRequest(fmt.Sprintf("prompt is too long: %d tokens > %d maximum", p.tokens, model.MaxInputTokens))
	}
	c.account.mu.Lock()
	id, missing := c.account.missingFileLocked(c.body)
	c.account.mu.Unlock()
	if missing {
		return errorResponse(http.StatusNotFound, claude.ErrNotFound, "File not found: "+id)
	}
	req := c.message
	minimum := minimumPrefix(req.Model)
	if c.settings.CacheMin > 0 {
		minimum = int64(c.settings.CacheMin)
	}
	use, over := c.account.admit(req.Model, p, minimum, c.start)
	if over != nil {
		return rateLimitResponse(over)
	}
	rng := s.replyRand(c.body)
	reply := composeReply(req, rng, turnOptions{
		minOutput: c.settings.MinOutput,
		maxOutput: c.settings.MaxOutput,
		maxTokens: *req.MaxTokens,
		forceTool: f.At == fault.AtToolBlock,
	})
	resp := response{
		status:  http.StatusOK,
		limited: true,
		prefill: time.Duration(c.settings.FirstToken) + time.Duration(float64(c.settings.Prefill)*float64(use.billedInput())/1000),
		usage:   newUsage(use, reply.tokens),
		begin:   func() { c.account.writeCache(p, use.hit, minimum, c.start, s.clock.Now()) },
	}
	id = "msg_" + token(c.ids)
	shape := randomShape(c.settings.Usage, rng)
	if req.Stream {
		resp.events = streamEvents(newMessage(id, req.Model, newUsage(use, min(reply.tokens, 1))), reply)
		shape.applyTo(resp.events)
		return resp
	}
	resp.body = shape.apply(plainMessage(newMessage(id, req.Model, resp.usage), reply), true)
	resp.tokens = reply.tokens
	return resp
}

// rateLimitResponse returns the 429 of one of the account's limits.
func rateLimitResponse(r *Refusal) response {
	resp := errorResponse(http.StatusTooManyRequests, claude.ErrRateLimit, fmt.Sprintf(
		"This request would exceed your organization's rate limit of %d %s per minute. Please try again later.", r.rate, r.limit))
	resp.header = map[string]string{"Retry-After": r.RetryAfter()}
	resp.limited = true
	return resp
}

// respondCount serves POST /v1/messages/count_tokens, which costs nothing.
func (s *Server) respondCount(c *call, _ fault.Fault) response {
	_, p, refused := s.parseRequest(c, false)
	if refused != nil {
		return *refused
	}
	return response{status: http.StatusOK, body: fmt.Appendf(nil, `{"input_tokens":%d}`, p.tokens)}
}

// parseRequest checks the request and returns its model and its prompt, or an error response.
func (s *Server) parseRequest(c *call, needMaxTokens bool) (modelInfo, *prompt, *response) {
	refuse := func(resp response) (modelInfo, *prompt, *response) { return modelInfo{}, nil, &resp }
	if c.bodyErr != nil {
		return refuse(invalidRequest(c.bodyErr.Error()))
	}
	if err := c.message.missing(needMaxTokens); err != nil {
		return refuse(invalidRequest(err.Error()))
	}
	model, ok := s.catalog.find(c.message.Model)
	if !ok {
		return refuse(unknownModel(c.message.Model))
	}
	p, err := buildPrompt(c.message, c.settings.BytesPerToken)
	if err != nil {
		return refuse(invalidRequest(err.Error()))
	}
	return model, p, nil
}

func unknownModel(id string) response {
	return errorResponse(http.StatusNotFound, claude.ErrNotFound, "model: "+id)
}

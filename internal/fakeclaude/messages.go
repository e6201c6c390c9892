package fakeclaude

import (
	"fmt"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// respondMessage answers POST /v1/messages.
func (s *Server) respondMessage(c *call, fault Fault) answer {
	model, p, refused := s.understand(c, true)
	if refused != nil {
		return *refused
	}
	if p.tokens > model.MaxInputTokens {
		return invalid(fmt.Sprintf("prompt is too long: %d tokens > %d maximum", p.tokens, model.MaxInputTokens))
	}
	c.account.mu.Lock()
	id, missing := s.lacks(c.account, c.body)
	c.account.mu.Unlock()
	if missing {
		return failure(http.StatusNotFound, claude.ErrNotFound, "File not found: "+id)
	}
	req := c.message
	minimum := minimumPrefix(req.Model)
	if c.settings.CacheMin > 0 {
		minimum = int64(c.settings.CacheMin)
	}
	use, over := c.account.admit(req.Model, p, minimum, c.start)
	if over != nil {
		return limited(over)
	}
	dice := s.replyDice(c.body)
	talk := composeReply(req, dice, turnOptions{
		minOutput: c.settings.MinOutput,
		maxOutput: c.settings.MaxOutput,
		maxTokens: *req.MaxTokens,
		forceTool: fault.At == AtToolBlock,
	})
	ans := answer{
		status:  http.StatusOK,
		limited: true,
		prefill: time.Duration(c.settings.FirstToken) + time.Duration(float64(c.settings.Prefill)*float64(use.billedInput())/1000),
		usage:   newUsage(use, talk.tokens),
		begin:   func() { c.account.begin(p, use.hit, minimum, c.start, s.clock.Now()) },
	}
	id = "msg_" + token(c.ids)
	shape := chooseShape(c.settings.Usage, dice)
	if req.Stream {
		ans.events = streamEvents(newMessage(id, req.Model, newUsage(use, min(talk.tokens, 1))), talk)
		shape.applyTo(ans.events)
		return ans
	}
	ans.body = shape.apply(plainMessage(newMessage(id, req.Model, ans.usage), talk), true)
	ans.tokens = talk.tokens
	return ans
}

// limited is the 429 of a real limit.
func limited(r *Refusal) answer {
	ans := failure(http.StatusTooManyRequests, claude.ErrRateLimit, fmt.Sprintf(
		"This request would exceed your organization's rate limit of %d %s per minute. Please try again later.", r.rate, r.limit))
	ans.header = map[string]string{"Retry-After": r.RetryAfter()}
	ans.limited = true
	return ans
}

// respondCount answers POST /v1/messages/count_tokens, which costs nothing.
func (s *Server) respondCount(c *call, _ Fault) answer {
	_, p, refused := s.understand(c, false)
	if refused != nil {
		return *refused
	}
	return answer{status: http.StatusOK, body: fmt.Appendf(nil, `{"input_tokens":%d}`, p.tokens)}
}

// understand checks the request and finds its model and its prompt, or says what
// to answer instead.
func (s *Server) understand(c *call, needMaxTokens bool) (modelInfo, *prompt, *answer) {
	refuse := func(ans answer) (modelInfo, *prompt, *answer) { return modelInfo{}, nil, &ans }
	if c.complaint != nil {
		return refuse(invalid(c.complaint.Error()))
	}
	if err := c.message.missing(needMaxTokens); err != nil {
		return refuse(invalid(err.Error()))
	}
	model, ok := s.catalog.find(c.message.Model)
	if !ok {
		return refuse(unknownModel(c.message.Model))
	}
	p, err := buildPrompt(c.message, c.settings.BytesPerToken)
	if err != nil {
		return refuse(invalid(err.Error()))
	}
	return model, p, nil
}

func unknownModel(id string) answer {
	return failure(http.StatusNotFound, claude.ErrNotFound, "model: "+id)
}

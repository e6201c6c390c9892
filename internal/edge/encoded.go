package edge

import (
	"errors"

	"claude-code-lb/internal/proxy"
	"claude-code-lb/internal/quota"
)

// prepare makes the proxy's body of what was read. A compressed body gets a decoded copy beside it, whose memory counts towards the bound.
func (p *bodies) prepare(l lent, contentEncoding []string, most int64) (proxy.Body, *bodyProblem) {
	done := func([]byte) { p.giveBack(l) }
	if len(l.b) == 0 || !proxy.IsEncoded(contentEncoding) {
		return proxy.NewBody(l.b, done), nil
	}
	var taken int64
	text, err := proxy.DecodeRequest(l.b, contentEncoding, most, func(n int64) bool {
		ok := p.room.more(n)
		if ok {
			taken += n
		}
		return ok
	})
	if err == nil {
		return proxy.NewEncodedBody(l.b, done, text, func() { p.room.leave(taken) }), nil
	}
	p.room.leave(taken)
	if refusal, ok := errors.AsType[*quota.Refusal](err); ok {
		return proxy.NewUnreadableBody(l.b, done, refusal), nil
	}
	p.giveBack(l)
	return proxy.Body{}, tooMany()
}

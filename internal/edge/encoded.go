package edge

import (
	"errors"

	"claude-code-lb/internal/proxy"
	"claude-code-lb/internal/quota"
)

// prepare makes the proxy's body of what was read. A compressed body gets a decoded copy beside it, whose memory counts towards the bound.
func (p *bodies) prepare(l *lent, contentEncoding []string, most int64) (proxy.Body, *bodyProblem) {
	done := func([]byte) { p.giveBack(l) }
	if len(l.b) == 0 || !proxy.IsEncoded(contentEncoding) {
		return proxy.NewBody(l.b, done), nil
	}
	if p.decoders != nil { // a decoder takes up to 8 MB by itself
		p.decoders <- struct{}{}
		defer func() { <-p.decoders }()
	}
	copied := &hold{owner: l.owner}
	text, err := proxy.DecodeRequest(l.b, contentEncoding, most, func(n int64) bool { return p.room.more(copied, n) })
	if err == nil {
		return proxy.NewEncodedBody(l.b, done, text, func() { p.room.leave(copied) }), nil
	}
	p.room.leave(copied)
	if refusal, ok := errors.AsType[*quota.Refusal](err); ok {
		return proxy.NewUnreadableBody(l.b, done, refusal), nil
	}
	p.giveBack(l)
	return proxy.Body{}, tooMany()
}

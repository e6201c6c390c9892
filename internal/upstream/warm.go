package upstream

import (
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/transport"
)

// maxWarming bounds the connections that are opened concurrently ahead of requests.
const maxWarming = 4

// coldServer is a server whose first request would have to wait for a TLS handshake.
type coldServer struct {
	name      string
	transport transport.Warmer
}

// Warm opens a connection to every https server that is new in the last Reconcile and accepts
// requests: TCP, TLS and the HTTP/2 preface, without a request. It works in the background, with a
// few servers at a time, and ends with the pool's context. Failures are only logged; the first
// request will report them.
func (p *Pool) Warm() {
	cold := make(chan coldServer, len(p.cold))
	for _, s := range p.cold {
		cold <- s
	}
	close(cold)
	for range min(maxWarming, len(p.cold)) {
		p.wg.Go(func() {
			for s := range cold {
				p.warm(s)
			}
		})
	}
	p.cold = nil
}

func (p *Pool) warm(s coldServer) {
	if p.ctx.Err() != nil {
		return
	}
	if err := s.transport.Warm(); err != nil {
		p.log.Debug(telemetry.WarmFailed, telemetry.Server, s.name, telemetry.Err, err)
		return
	}
	p.log.Debug(telemetry.Warmed, telemetry.Server, s.name)
}

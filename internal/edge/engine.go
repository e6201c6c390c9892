package edge

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/socket"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// sorted is the listener of package http1. It returns connections that package http1 serves, and
// gives those that net/http serves to given: with a certificate all of them, and without one if
// net/http is the engine.
type dispatchListener struct {
	net.Listener
	server  *Server
	netHTTP *chanListener
}

// Accept implements net.Listener.
func (l *dispatchListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		certified, standard := l.server.tls.config.Load(), l.server.useStd.Load()
		switch {
		case certified == nil && !standard:
			return conn, nil
		case certified == nil:
			l.netHTTP.deliver(&sniffedConn{Conn: conn, isWrong: isTLS, refuse: l.server.refuseTLS})
			continue
		case !standard:
			conn = socket.New(conn)
		}
		l.netHTTP.deliver(tls.Server(&sniffedConn{Conn: conn, isWrong: isPlainHTTP, refuse: l.server.refusePlainHTTP}, certified)) // net/http makes the handshake
	}
}

// usesSocket is the key of a context's value: whether the connection is one of package socket.
type socketKey struct{}

// noteSocket is the ConnContext of an http.Server.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if k, ok := c.(*sniffedConn); ok {
		c = k.Conn
	}
	_, ok := c.(*socket.Conn)
	return context.WithValue(ctx, socketKey{}, ok)
}

// hasSocket reports whether the request came over a connection of package socket.
func usesSocket(r *http.Request) bool {
	ok, _ := r.Context().Value(socketKey{}).(bool)
	return ok
}

// refuseTLS answers a client that speaks TLS to a listener without a certificate.
func (s *Server) refuseTLS(c *sniffedConn) {
	s.logWrongProtocol(telemetry.TLSOnPlain, c.RemoteAddr().String())
	_, body := refusal(http.StatusBadRequest, "it is TLS, and this port speaks plain HTTP: use http:// here")
	c.sendError(body)
}

// idleConns are the connections of net/http on which no request is being served. The zero value is
// ready to use.
type idleConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// note is the ConnState of an http.Server.
func (i *idleConns) track(c net.Conn, state http.ConnState) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if state != http.StateIdle {
		delete(i.conns, c)
		return
	}
	if i.conns == nil {
		i.conns = map[net.Conn]struct{}{}
	}
	i.conns[c] = struct{}{}
}

// close closes them, to free their descriptors.
func (i *idleConns) closeAll() {
	i.mu.Lock()
	all := slices.Collect(maps.Keys(i.conns))
	i.mu.Unlock()
	for _, c := range all {
		_ = c.Close() // its end is noticed by the goroutine that serves it
	}
}

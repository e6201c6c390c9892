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
)

// socketKey is the context key for whether the connection is a socket.Conn.
type socketKey struct{}

// connContext is the ConnContext of the http.Server.
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

// usesSocket reports whether the request arrived over a socket.Conn.
func usesSocket(r *http.Request) bool {
	ok, _ := r.Context().Value(socketKey{}).(bool)
	return ok
}

// idleConns are the idle connections of net/http. The zero value is ready to use.
type idleConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// track is the ConnState of the http.Server.
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

// closeAll closes the idle connections, to free their descriptors.
func (i *idleConns) closeAll() {
	i.mu.Lock()
	all := slices.Collect(maps.Keys(i.conns))
	i.mu.Unlock()
	for _, c := range all {
		_ = c.Close() // the goroutine that serves it notices
	}
}

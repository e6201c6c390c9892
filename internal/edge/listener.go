package edge

import (
	"crypto/tls"
	"net"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/http1"
	"github.com/9bingyin/claude-code-lb/internal/socket"
)

// dispatchListener is the listener of http1.Server. Accept returns the connections that package
// http1 serves. All others go to netHTTP: every connection if there is a certificate, or if
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
			l.netHTTP.deliver(&sniffedConn{Conn: conn, isWrong: http1.StartsTLS, refuse: l.server.refuseTLS})
			continue
		case !standard:
			conn = socket.New(conn)
		}
		// net/http makes the handshake.
		sniffed := &sniffedConn{Conn: conn, isWrong: isPlainHTTP, refuse: l.server.refusePlainHTTP}
		l.netHTTP.deliver(tls.Server(sniffed, certified))
	}
}

// chanListener is a listener for connections that another listener has accepted.
type chanListener struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

func newChanListener(address net.Addr) *chanListener {
	return &chanListener{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *chanListener) deliver(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		conn.Close()
	}
}

// Accept returns the next delivered connection.
func (h *chanListener) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close makes Accept fail.
func (h *chanListener) Close() error {
	h.closing.Do(func() { close(h.closed) })
	return nil
}

// Addr returns the address of the original listener.
func (h *chanListener) Addr() net.Addr { return h.address }

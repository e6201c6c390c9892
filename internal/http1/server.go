package http1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/socket"
)

const (
	// newConnGrace is how long a connection may still send its first request during a shutdown.
	newConnGrace = 5 * time.Second
	// The pause after a failed accept doubles between these bounds.
	minAcceptPause, maxAcceptPause = 5 * time.Millisecond, time.Second
)

// Server serves an http.Handler. Its fields must be set before the first Serve. All methods are
// safe for concurrent use.
//
// Handlers may rely on the behaviour of net/http, with these differences: interim responses (1xx)
// are not sent, http.Hijacker is not implemented, Content-Type is not sniffed, request trailers are
// discarded, and the only context value is http.LocalAddrContextKey.
type Server struct {
	Handler http.Handler
	// ReadHeaderTimeout limits the time from a request's first byte to the end of its header. For
	// the first request it starts with the connection. 0: no limit.
	ReadHeaderTimeout time.Duration
	IdleTimeout       time.Duration   // between two requests; 0: no limit
	WriteTimeout      time.Duration   // for one write, unless the handler sets a deadline; 0: no limit
	MaxHeaderBytes    int             // of a request header; 0: 1 MB, as in net/http
	BaseContext       context.Context // parent of all requests' contexts; nil: context.Background()
	// Refusal returns the body of the response to a request that cannot be served. If it is nil,
	// the body is plain text.
	Refusal func(status int, reason string) (contentType string, body []byte)
	// OnError, if not nil, is called with errors that no client sees: failed accepts and panics of
	// handlers.
	OnError func(error)
	// OnTLS, if not nil, is called with the remote address of a client that speaks TLS.
	OnTLS func(remote string)

	pool          blockPool
	closeNotifier socket.CloseNotifier
	mu            sync.Mutex
	listeners     map[net.Listener]struct{}
	conns         map[*conn]struct{}
	closing       bool
	stopped       chan struct{} // closed when closing is set
	connEnded     chan struct{} // signalled when a connection has ended
}

// Serve accepts connections until the listener is closed. It returns http.ErrServerClosed after
// Shutdown or Close, and otherwise the listener's error.
func (s *Server) Serve(l net.Listener) error {
	if !s.addListener(l) {
		l.Close()
		return http.ErrServerClosed
	}
	defer s.removeListener(l)
	for pause := minAcceptPause; ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = minAcceptPause
			s.accept(c)
			continue
		case s.isClosing():
			return http.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		}
		s.reportError(err)
		if OutOfDescriptors(err) {
			s.closeIdle() // idle connections give way to requests being served
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxAcceptPause)
		case <-s.stopped:
		}
	}
}

func (s *Server) accept(c net.Conn) {
	served := newConn(s, c)
	s.mu.Lock()
	closing := s.closing
	if !closing {
		s.conns[served] = struct{}{}
	}
	s.mu.Unlock()
	if closing {
		c.Close()
		return
	}
	go served.serve()
}

// Shutdown stops listening, closes idle connections, and waits for the others to end. If ctx ends
// first, it returns ctx.Err().
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopListening()
	look := time.NewTicker(newConnGrace / 4)
	defer look.Stop()
	for {
		if s.closeIdle() == 0 {
			s.closeNotifier.Close()
			return nil
		}
		select {
		case <-s.connEnded:
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close stops listening and closes all connections.
func (s *Server) Close() error {
	s.stopListening()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.sock.Close()
		c.watch.onServerClose()
	}
	s.closeNotifier.Close()
	return nil
}

// stopListening closes all listeners and marks the server as closing.
func (s *Server) stopListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.initLocked()
	if !s.closing {
		s.closing = true
		close(s.stopped)
	}
	for l := range s.listeners {
		l.Close()
	}
}

// closeIdle closes the connections without a request, and returns the number of the remaining ones.
func (s *Server) closeIdle() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.closeIdle() {
			delete(s.conns, c)
		}
	}
	return len(s.conns)
}

// initLocked creates channels and maps on first use. The caller holds the mutex.
func (s *Server) initLocked() {
	if s.stopped == nil {
		s.stopped, s.connEnded = make(chan struct{}), make(chan struct{}, 1)
		s.listeners, s.conns = map[net.Listener]struct{}{}, map[*conn]struct{}{}
	}
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.initLocked()
	if !s.closing {
		s.listeners[l] = struct{}{}
	}
	return !s.closing
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) removeConn(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	select {
	case s.connEnded <- struct{}{}:
	default:
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) reportError(err error) {
	if s.OnError != nil {
		s.OnError(err)
	}
}

func (s *Server) maxHeader() int {
	if s.MaxHeaderBytes > 0 {
		return s.MaxHeaderBytes
	}
	return http.DefaultMaxHeaderBytes
}

func (s *Server) baseContext() context.Context {
	if s.BaseContext != nil {
		return s.BaseContext
	}
	return context.Background()
}

func (s *Server) refusalBody(r *refusal) (contentType string, body []byte) {
	if s.Refusal != nil {
		return s.Refusal(r.status, r.reason)
	}
	return "text/plain; charset=utf-8", []byte(http.StatusText(r.status) + ": " + r.reason + "\n")
}

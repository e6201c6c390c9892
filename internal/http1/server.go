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
	// freshTime is how long a connection that has brought no request yet may still do so while the server shuts down.
	newConnGrace = 5 * time.Second
	// acceptPause is how long accepting rests after its first failure in a row; it doubles up to the most.
	minAcceptPause, maxAcceptPause = 5 * time.Millisecond, time.Second
)

// Server serves an http.Handler. Its fields are set before the first Serve. All methods may be called from any goroutine.
//
// What handlers may rely on is what net/http says, with these differences: answers of status 1xx are not sent, there is no
// Hijacker, a Content-Type is not guessed, trailers of requests are read past, and of the context's values there is only
// http.LocalAddrContextKey.
type Server struct {
	Handler           http.Handler
	ReadHeaderTimeout time.Duration   // from a request's first byte, or the connection's begin, to the end of its head; 0: none
	IdleTimeout       time.Duration   // between two requests; 0: none
	WriteTimeout      time.Duration   // for a client to accept one write, unless the handler sets a deadline; 0: none
	MaxHeaderBytes    int             // of a head; 0: 1 MB, as in net/http
	BaseContext       context.Context // of all requests; nil: the background
	// Refusal words the answer to a request that cannot be served; nil: in plain text.
	Refusal func(status int, why string) (contentType string, body []byte)
	// Failed is told of what no client can be told of: connections that could not be accepted, handlers that panicked. nil: nobody is.
	OnError func(error)
	// Encrypted is called with the address of a client that speaks TLS. nil: nobody is.
	OnTLS func(remote string)

	pool          blockPool
	closeNotifier socket.CloseNotifier
	mu            sync.Mutex
	listeners     map[net.Listener]struct{}
	conns         map[*conn]struct{}
	closing       bool
	stopped       chan struct{} // closed when closing is set
	connEnded     chan struct{} // told when a connection has ended
}

// Serve accepts connections until the listener is closed, and then returns http.ErrServerClosed if the server shuts down, else the listener's error.
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
			s.closeIdle() // whoever is being served goes before them
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

// Shutdown stops listening, closes connections that are idle, and returns when the others have ended, or with ctx's error when that ends first.
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

// Close breaks off whatever there is.
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

// stop ends all listening.
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

// closeIdle closes the connections on which no request is being served, and counts those that are left.
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

// begin makes what listening and stopping need. The caller holds the mutex.
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

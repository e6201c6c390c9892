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
	freshTime = 5 * time.Second
	// acceptPause is how long accepting rests after its first failure in a row; it doubles up to the most.
	acceptPause, mostAcceptPause = 5 * time.Millisecond, time.Second
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
	Failed func(error)
	// Encrypted is called with the address of a client that speaks TLS. nil: nobody is.
	Encrypted func(remote string)

	mem           memory
	closeNotifier socket.CloseNotifier
	mu            sync.Mutex
	listeners     map[net.Listener]struct{}
	conns         map[*conn]struct{}
	closing       bool
	stopped       chan struct{} // closed when closing is set
	left          chan struct{} // told when a connection has ended
}

// Serve accepts connections until the listener is closed, and then returns http.ErrServerClosed if the server shuts down, else the listener's error.
func (s *Server) Serve(l net.Listener) error {
	if !s.listen(l) {
		l.Close()
		return http.ErrServerClosed
	}
	defer s.unlisten(l)
	for pause := acceptPause; ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPause
			s.accept(c)
			continue
		case s.isClosing():
			return http.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		}
		s.failed(err)
		if Exhausted(err) {
			s.closeIdle() // whoever is being served goes before them
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, mostAcceptPause)
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
	s.stop()
	look := time.NewTicker(freshTime / 4)
	defer look.Stop()
	for {
		if s.closeIdle() == 0 {
			s.closeNotifier.Close()
			return nil
		}
		select {
		case <-s.left:
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close breaks off whatever there is.
func (s *Server) Close() error {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.net.Close()
		c.watch.closed()
	}
	s.closeNotifier.Close()
	return nil
}

// stop ends all listening.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
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
func (s *Server) begin() {
	if s.stopped == nil {
		s.stopped, s.left = make(chan struct{}), make(chan struct{}, 1)
		s.listeners, s.conns = map[net.Listener]struct{}{}, map[*conn]struct{}{}
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	if !s.closing {
		s.listeners[l] = struct{}{}
	}
	return !s.closing
}

func (s *Server) unlisten(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	select {
	case s.left <- struct{}{}:
	default:
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) failed(err error) {
	if s.Failed != nil {
		s.Failed(err)
	}
}

func (s *Server) maxHead() int {
	if s.MaxHeaderBytes > 0 {
		return s.MaxHeaderBytes
	}
	return http.DefaultMaxHeaderBytes
}

func (s *Server) context() context.Context {
	if s.BaseContext != nil {
		return s.BaseContext
	}
	return context.Background()
}

func (s *Server) refusal(r *refusal) (contentType string, body []byte) {
	if s.Refusal != nil {
		return s.Refusal(r.status, r.why)
	}
	return "text/plain; charset=utf-8", []byte(http.StatusText(r.status) + ": " + r.why + "\n")
}

package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/http1"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	headerTimeout  = 30 * time.Second
	idleTimeout    = 5 * time.Minute
	maxHeaderBytes = 256 << 10
	// writeTimeout is how long a client may take to accept one write before it counts as gone.
	writeTimeout = 5 * time.Minute
	// complaintPeriod is how often it is logged that there are no descriptors left.
	logPeriod = time.Minute
)

// Server listens and serves. Listen and Drain may be called from any goroutine.
type Server struct {
	fast          *http1.Server
	std           *http.Server // for HTTPS, and for everything where net/http is the engine
	log           *slog.Logger
	descriptorLog telemetry.Occasional
	protocolLog   telemetry.Occasional    // clients that speak the wrong protocol, in the log
	cancel        context.CancelCauseFunc // ends all requests
	tls           certificate
	useStd        atomic.Bool // whether connections that come from now on are net/http's
	stdIdle       idleConns   // of other

	mu        sync.Mutex
	listener  net.Listener
	listeners sync.WaitGroup
}

// NewServer makes a server that does not listen yet.
func NewServer(h http.Handler, log *slog.Logger) *Server {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Server{cancel: cancel, log: log, descriptorLog: telemetry.Occasional{Every: logPeriod}, protocolLog: telemetry.Occasional{Every: logPeriod}}
	s.fast = &http1.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: writeTimeout, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: ctx, Refusal: refusal, OnError: s.logServerError, OnTLS: func(remote string) { s.logWrongProtocol(telemetry.TLSOnPlain, remote) },
	}
	s.std = &http.Server{
		Handler: withBodyClock(h), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, HTTP2: http2Config(),
		BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: connContext, ConnState: s.stdIdle.track,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// failed logs what no client can be told of. Without descriptors clients wait where the kernel has them wait.
func (s *Server) logServerError(err error) {
	if http1.OutOfDescriptors(err) {
		s.stdIdle.closeAll()
		if s.descriptorLog.Allow(time.Now()) {
			s.log.Warn(telemetry.NoDescriptors, telemetry.Needed, "accept", telemetry.Err, err)
		}
	}
	s.log.Debug(telemetry.ServerProblem, telemetry.Err, err)
}

// wrongScheme logs at a limited rate that a client speaks TLS to a plain port, or the reverse. The client's own message
// seldom explains it.
func (s *Server) logWrongProtocol(message, remote string) {
	if s.protocolLog.Allow(time.Now()) {
		s.log.Warn(message, telemetry.Address, s.Addr().String(), telemetry.Client, remote)
	}
}

// refusal words the answer to what is no request.
func refusal(status int, why string) (contentType string, body []byte) {
	e := claude.Error{Type: claude.TypeForStatus(status), Message: "claude-code-lb cannot read the request: " + why + ".", RequestID: newRequestID()}
	return "application/json", e.AppendJSON(nil)
}

// Listen begins to serve on an address and then stops listening on the former
// one, whose connections live on. On an error everything stays as it was.
func (s *Server) Listen(address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := Bind(address)
	if err != nil && s.listener != nil && samePort(s.listener, address) {
		l, err = s.rebindLocked(address)
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.serveLocked(l)
	return nil
}

// Bind opens a listener for ListenOn.
func Bind(address string) (net.Listener, error) { return net.Listen("tcp", address) }

// ListenOn is Listen with a listener that has been opened before.
func (s *Server) ListenOn(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serveLocked(l)
}

// SetCertificate makes connections that come from now on speak HTTPS, HTTP/1.1
// and HTTP/2, with a certificate; nil makes them speak plain HTTP. Those that
// are open go on as they began. It may be called from any goroutine.
func (s *Server) SetCertificate(c *tls.Certificate) { s.tls.set(c) }

// SetEngine chooses the implementation of HTTP for connections that come from now on. Those that are open go on with theirs.
// It may be called from any goroutine.
func (s *Server) SetEngine(e config.HTTPEngine) { s.useStd.Store(e.Standard()) }

// serve puts a listener in the former one's place.
func (s *Server) serveLocked(l net.Listener) {
	if s.listener != nil {
		s.listener.Close()
	}
	s.listener = l
	given := newChanListener(l.Addr())
	// Both end when their listener is closed: by the next Listen or by Drain.
	s.listeners.Go(func() { _ = s.std.Serve(given) })
	s.listeners.Go(func() {
		defer given.Close()
		_ = s.fast.Serve(&dispatchListener{l, s, given})
	})
}

// adopt changes the host on one port, which two listeners cannot share: the
// former one makes room, and comes back if that does not help.
func (s *Server) rebindLocked(address string) (net.Listener, error) {
	former := s.listener.Addr().String()
	s.listener.Close()
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	back, backErr := net.Listen("tcp", former)
	if backErr != nil {
		return nil, errors.Join(err, backErr)
	}
	s.serveLocked(back)
	return nil, err
}

func samePort(l net.Listener, address string) bool {
	_, former, _ := net.SplitHostPort(l.Addr().String())
	_, port, _ := net.SplitHostPort(address)
	return port == former
}

// Addr is the address that is listened on, nil before the first Listen.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Drain stops listening and returns when the last request has ended. When ctx
// ends first, it breaks off those still open, lets them tell their clients, and
// returns ctx's error.
func (s *Server) Drain(ctx context.Context) error {
	err := s.shutdown(ctx)
	if err == nil {
		return nil
	}
	s.cancel(verdict.ErrStopping)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if lastErr := s.shutdown(last); lastErr != nil {
		err = errors.Join(err, s.fast.Close(), s.std.Close())
	}
	return err
}

// shutdown lets both servers come to their end.
func (s *Server) shutdown(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.std.Shutdown(ctx) }()
	return errors.Join(s.fast.Shutdown(ctx), <-ended)
}

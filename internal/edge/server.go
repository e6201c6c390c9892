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
	// writeTimeout is how long one write to a client may take before the client counts as gone.
	writeTimeout = 5 * time.Minute
	// logPeriod limits repeated log lines about one kind of problem.
	logPeriod = time.Minute
)

// Server listens for clients and serves them. All methods are safe for concurrent use.
type Server struct {
	fast          *http1.Server
	std           *http.Server // serves HTTPS, and everything if net/http is the engine
	log           *slog.Logger
	descriptorLog telemetry.Occasional
	protocolLog   telemetry.Occasional    // limits log lines about clients with the wrong protocol
	cancel        context.CancelCauseFunc // ends all requests
	tls           certificate
	useStd        atomic.Bool // std serves connections accepted from now on
	stdIdle       idleConns   // idle connections of std

	mu        sync.Mutex
	listener  net.Listener
	listeners sync.WaitGroup
}

// NewServer returns a server that does not listen yet.
func NewServer(h http.Handler, log *slog.Logger) *Server {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Server{
		cancel: cancel, log: log,
		descriptorLog: telemetry.Occasional{Every: logPeriod}, protocolLog: telemetry.Occasional{Every: logPeriod},
	}
	s.fast = &http1.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: writeTimeout,
		MaxHeaderBytes: maxHeaderBytes, BaseContext: ctx, Refusal: refusal, OnError: s.logServerError,
		OnTLS: func(remote string) { s.logWrongProtocol(telemetry.TLSOnPlain, remote) },
	}
	s.std = &http.Server{
		Handler: withBodyClock(h), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, HTTP2: http2Config(),
		BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: connContext, ConnState: s.stdIdle.track,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// logServerError logs an error that no client sees. Without descriptors, clients wait in the
// kernel's accept queue.
func (s *Server) logServerError(err error) {
	if http1.OutOfDescriptors(err) {
		s.stdIdle.closeAll()
		if s.descriptorLog.Allow(time.Now()) {
			s.log.Warn(telemetry.NoDescriptors, telemetry.NeededTo, "accept", telemetry.Err, err)
		}
	}
	s.log.Debug(telemetry.ServerProblem, telemetry.Err, err)
}

// logWrongProtocol logs, at a limited rate, that a client speaks TLS to a plain port or the
// reverse. The client's own error message seldom explains it.
func (s *Server) logWrongProtocol(message, remote string) {
	if s.protocolLog.Allow(time.Now()) {
		s.log.Warn(message, telemetry.Address, s.Addr().String(), telemetry.Client, remote)
	}
}

// refusal returns the body of the response to an invalid HTTP request.
func refusal(status int, reason string) (contentType string, body []byte) {
	e := claude.Error{
		Type: claude.TypeForStatus(status), RequestID: newRequestID(),
		Message: "claude-code-lb cannot read the request: " + reason + ".",
	}
	return "application/json", e.AppendJSON(nil)
}

// Listen starts to serve on an address, and then closes the previous listener, whose connections
// stay open. On an error nothing changes.
func (s *Server) Listen(address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := Bind(address)
	if err != nil && s.listener != nil && usesPortOf(s.listener, address) {
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

// ListenOn is Listen with an open listener.
func (s *Server) ListenOn(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serveLocked(l)
}

// SetCertificate makes connections accepted from now on speak HTTPS (HTTP/1.1 and HTTP/2) with a
// certificate; nil makes them speak plain HTTP. Open connections do not change. Safe for concurrent
// use.
func (s *Server) SetCertificate(c *tls.Certificate) { s.tls.set(c) }

// SetEngine chooses the HTTP implementation for connections accepted from now on. Open connections
// do not change. Safe for concurrent use.
func (s *Server) SetEngine(e config.HTTPEngine) { s.useStd.Store(e.Standard()) }

// serveLocked replaces the listener.
func (s *Server) serveLocked(l net.Listener) {
	if s.listener != nil {
		s.listener.Close()
	}
	s.listener = l
	given := newChanListener(l.Addr())
	// Both Serve calls return when their listener is closed: by the next Listen or by Drain.
	s.listeners.Go(func() { _ = s.std.Serve(given) })
	s.listeners.Go(func() {
		defer given.Close()
		_ = s.fast.Serve(&dispatchListener{l, s, given})
	})
}

// rebindLocked changes the host on the same port, which two listeners cannot share. It closes the
// previous listener first, and opens it again if the new one fails.
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

func usesPortOf(l net.Listener, address string) bool {
	_, former, _ := net.SplitHostPort(l.Addr().String())
	_, port, _ := net.SplitHostPort(address)
	return port == former
}

// Addr returns the address of the listener, or nil before the first Listen.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Drain stops listening and waits for all requests to end. If ctx ends first, it aborts the
// remaining requests, gives them a moment to inform their clients, and returns ctx's error.
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

// shutdown shuts down both servers.
func (s *Server) shutdown(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.std.Shutdown(ctx) }()
	return errors.Join(s.fast.Shutdown(ctx), <-ended)
}

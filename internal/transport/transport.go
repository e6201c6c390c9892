package transport

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/http1"
	"github.com/9bingyin/claude-code-lb/internal/socket"
)

const (
	idleConnTimeout = 90 * time.Second
	idleConns       = 256
	// A dead HTTP/2 connection stalls all streams on it. So the transport sends pings on a silent
	// connection, and limits how long a write may block.
	pingAfterSilence = 10 * time.Second
	pingTimeout      = 10 * time.Second
	writeStall       = 20 * time.Second
	maxHeaderBytes   = 256 << 10
)

// Transport is the connection pool of one identity.
type Transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// Warmer is a transport that can open a connection ahead of requests.
type Warmer interface{ Warm() error }

// New returns the connection pool of one identity. Connections without TLS use package http1,
// unless the configuration asks for net/http or the environment names a proxy; all others use
// net/http. There is no time-out for responses, because it depends on the request; the caller sets
// it by the request's context. When ctx ends, dials that serve several requests end.
func New(ctx context.Context, base *url.URL, connect time.Duration, engine config.HTTPEngine) Transport {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: base})
	if base.Scheme == "http" && proxy == nil && err == nil && !engine.Standard() {
		return &http1.Transport{
			DialContext: withLateRetry(newDialer(connect)), MaxIdleConns: idleConns, IdleConnTimeout: idleConnTimeout, MaxResponseHeaderBytes: maxHeaderBytes,
			FreshUnlessRepeatable: true,
		}
	}
	t := NewNetTransport(connect)
	if engine.Standard() {
		t.DialContext = withLateRetry(newDialer(connect)) // without the system calls of package socket
	}
	if base.Scheme != "https" {
		return netTransport{t}
	}
	// The same decision for every request and dial: for a dial without a request, net/http passes
	// less information to the proxy function.
	t.Proxy = func(*http.Request) (*url.URL, error) { return proxy, err }
	return newSecureTransport(ctx, t, base)
}

func newDialer(connect time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: connect, KeepAlive: 15 * time.Second}
}

// dialTolerance is how late the time-out of a dial may fire.
const dialTolerance = 250 * time.Millisecond

// withLateRetry dials a second time if the first dial timed out and the time-out fired far too
// late. The process was suspended then, and the time-out proves nothing about the server.
func withLateRetry(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		began := time.Now()
		c, err := d.DialContext(ctx, network, address)
		if err != nil && d.Timeout > 0 && ctx.Err() == nil && time.Since(began) > d.Timeout+dialTolerance {
			c, err = d.DialContext(ctx, network, address)
		}
		return c, err
	}
}

// dialSocket returns a dial function whose connections use the system calls of package socket.
func dialSocket(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := withLateRetry(d)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return socket.New(c), nil
	}
}

// NewNetTransport returns a connection pool of net/http.
func NewNetTransport(connect time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialSocket(newDialer(connect)),
		TLSHandshakeTimeout:    connect,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfterSilence, PingTimeout: pingTimeout, WriteByteTimeout: writeStall},
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// Responses are passed on unchanged, so the transport must not add an Accept-Encoding.
		DisableCompression: true,
		// Every open stream has both buffers. Headers and events are shorter, and bodies bypass the
		// buffers.
		ReadBufferSize:  2 << 10,
		WriteBufferSize: 2 << 10,
	}
}

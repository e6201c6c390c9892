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
	// A dead HTTP/2 connection stalls every stream on it, so it is asked for a sign of life, and may not stand still
	// while there is something to send.
	pingAfterSilence = 10 * time.Second
	pingTimeout      = 10 * time.Second
	writeStall       = 20 * time.Second
	maxHeaderBytes   = 256 << 10
)

// transport is the connection pool of one identity.
type Transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// warmer is a transport to which a connection can be opened ahead of requests.
type Warmer interface{ Warm() error }

// newTransport makes the connection pool of one identity: of our own engine for plain connections unless net/http is asked
// for, of net/http for TLS, HTTP/2 and proxies. It has no time-out for answers: how long an answer may take depends on the request and is the
// caller's to say, by the request's context. What is being dialed for more than
// one request ends with ctx.
func New(ctx context.Context, base *url.URL, connect time.Duration, engine config.HTTPEngine) Transport {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: base})
	if base.Scheme == "http" && proxy == nil && err == nil && !engine.Standard() {
		return &http1.Transport{
			DialContext: patiently(newDialer(connect)), MaxIdleConns: idleConns, IdleConnTimeout: idleConnTimeout, MaxResponseHeaderBytes: maxHeaderBytes,
			FreshUnlessRepeatable: true,
		}
	}
	t := NewNetTransport(connect)
	if engine.Standard() {
		t.DialContext = patiently(newDialer(connect)) // without the socket calls of package socket
	}
	if base.Scheme != "https" {
		return netTransport{t}
	}
	// As for every request: of what is dialed without one, net/http tells the proxy settings less.
	t.Proxy = func(*http.Request) (*url.URL, error) { return proxy, err }
	return newSecureTransport(ctx, t, base)
}

func newDialer(connect time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: connect, KeepAlive: 15 * time.Second}
}

// lateDial is by how much a dial may exceed its time-out.
const lateDial = 250 * time.Millisecond

// patiently dials a second time if the first dial timed out and the process noticed it far too late. The process was
// suspended then, and the time-out says nothing about the server.
func patiently(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		began := time.Now()
		c, err := d.DialContext(ctx, network, address)
		if err != nil && d.Timeout > 0 && ctx.Err() == nil && time.Since(began) > d.Timeout+lateDial {
			c, err = d.DialContext(ctx, network, address)
		}
		return c, err
	}
}

// dialSocket has a dialer make connections that are cheap to use.
func dialSocket(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := patiently(d)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return socket.New(c), nil
	}
}

// newNetTransport makes a pool of net/http's own.
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
		// Answers pass as they are; the Transport shall not add an Accept-Encoding of its own.
		DisableCompression: true,
		// Every open stream holds both. Heads and events are shorter; bodies go past them.
		ReadBufferSize:  2 << 10,
		WriteBufferSize: 2 << 10,
	}
}

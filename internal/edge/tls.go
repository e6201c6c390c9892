package edge

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// overHTTP2 bounds HTTP/2 connections of clients. Behind one there may be a front proxy with hundreds of agents. A
// client that has vanished without a word costs tokens until that is noticed; one that is only suspended for a moment
// shall find its streams again.
func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          1000,
		MaxReceiveBufferPerConnection: 3 << 20, // shared by the bodies of all its requests
		SendPingTimeout:               30 * time.Second,
		PingTimeout:                   30 * time.Second,
		WriteByteTimeout:              2 * time.Minute,
	}
}

// certified is the certificate that clients are served with. The zero value has none.
type certificate struct {
	config atomic.Pointer[tls.Config]
}

// set puts a certificate in force for connections that come from now on; nil lets them speak plain HTTP.
func (c *certificate) set(cert *tls.Certificate) {
	if cert == nil {
		c.config.Store(nil)
		return
	}
	if old := c.config.Load(); old != nil && slices.EqualFunc(old.Certificates[0].Certificate, cert.Certificate, slices.Equal) {
		return // the same, and clients may resume their sessions
	}
	c.config.Store(&tls.Config{
		Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	})
}

// chanListener is a listener to whom connections are given that another one has accepted.
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

// Accept returns what is given.
func (h *chanListener) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (h *chanListener) Close() error {
	h.closing.Do(func() { close(h.closed) })
	return nil
}

// Addr is where the connections are accepted.
func (h *chanListener) Addr() net.Addr { return h.address }

package edge

import (
	"crypto/tls"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// http2Config bounds HTTP/2 connections of clients. One connection may carry hundreds of agents
// behind a front proxy. Streams of a client that has vanished cost tokens until the loss is
// detected. But a client that was only suspended for a moment should find its streams alive.
func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          1000,
		MaxReceiveBufferPerConnection: 3 << 20, // shared by the request bodies of one connection
		SendPingTimeout:               30 * time.Second,
		PingTimeout:                   30 * time.Second,
		WriteByteTimeout:              2 * time.Minute,
	}
}

// certificate is the TLS certificate of the listener. The zero value has none.
type certificate struct {
	config atomic.Pointer[tls.Config]
}

// set replaces the certificate for connections accepted from now on; nil makes them speak plain
// HTTP.
func (c *certificate) set(cert *tls.Certificate) {
	if cert == nil {
		c.config.Store(nil)
		return
	}
	if old := c.config.Load(); old != nil && slices.EqualFunc(old.Certificates[0].Certificate, cert.Certificate, slices.Equal) {
		return // keep the configuration, so that clients can resume sessions
	}
	c.config.Store(&tls.Config{
		Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	})
}

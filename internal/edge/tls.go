package edge

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// overHTTP2 bounds HTTP/2 connections of clients. Behind one there may be a front proxy with hundreds of agents. A
// client that has vanished without a word costs tokens until that is noticed; one that is only suspended for a moment
// shall find its streams again.
func overHTTP2() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          1000,
		MaxReceiveBufferPerConnection: 3 << 20, // shared by the bodies of all its requests
		SendPingTimeout:               30 * time.Second,
		PingTimeout:                   30 * time.Second,
		WriteByteTimeout:              2 * time.Minute,
	}
}

// certified is the certificate that clients are served with. The zero value has none.
type certified struct {
	config atomic.Pointer[tls.Config]
}

// set puts a certificate in force for connections that come from now on; nil lets them speak plain HTTP.
func (c *certified) set(cert *tls.Certificate) {
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

// listen hands out connections of l, a *tls.Conn each while there is a certificate. The handshake is the server's to make.
func (c *certified) listen(l net.Listener) net.Listener { return &certifiedListener{l, c} }

type certifiedListener struct {
	net.Listener
	by *certified
}

func (l *certifiedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if config := l.by.config.Load(); config != nil {
		return tls.Server(conn, config), nil
	}
	return conn, nil
}

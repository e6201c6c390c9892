//go:build linux && (amd64 || arm64) && !race

package http1_test

import (
	"io"
	"net"
	"net/http"
	"testing"
)

// TestDisconnectIsDetected checks that the kernel reports a client that leaves, even behind
// pipelined bytes that have not been read.
func TestDisconnectIsDetected(t *testing.T) {
	began, left := make(chan struct{}), make(chan struct{})
	at := ours().serveTCP(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	}))
	f := func(with, later string, leave func(*net.TCPConn) error) {
		t.Helper()
		c := dialTCP(t, at)
		_, _ = io.WriteString(c, get("Host: h")+with)
		<-began
		_, _ = io.WriteString(c, later)
		if err := leave(c); err != nil {
			t.Fatal(err)
		}
		<-left
	}
	reset := func(c *net.TCPConn) error {
		_ = c.SetLinger(0)
		return c.Close()
	}
	for _, leave := range []func(*net.TCPConn) error{(*net.TCPConn).Close, (*net.TCPConn).CloseWrite, reset} {
		f("", "", leave)
		f("\r\n", "", leave)
		f(get("Host: h"), "", leave)
		f("", "\r\n", leave)
		f("", get("Host: h"), leave)
	}
}

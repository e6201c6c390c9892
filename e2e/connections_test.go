package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestKeptConnectionThatEnds: an upstream ends every connection when a second request has come over it. Each is sent again over a
// connection of its own, and the upstream does not rest for it: the second server gets nothing.
func TestKeptConnectionThatEnds(t *testing.T) {
	t.Parallel()
	up, other := newFake(t, "a"), newFake(t, "b")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var ended atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				if r, err := http.ReadRequest(in); err != nil || forward(c, r, up.url) != nil {
					return
				}
				if _, err := in.ReadByte(); err == nil {
					ended.Add(1)
					_ = c.(*net.TCPConn).SetLinger(0) // with a reset
				}
			}()
		}
	}()
	b := start(t, fallback(up.entry().with("url", "http://"+l.Addr().String()), other.entry()))
	for range 5 {
		b.mustServe(true, up)
		b.mustServe(false, up)
	}
	if ended.Load() == 0 {
		t.Error("no kept connection was used")
	}
	if n := other.count(); n != 0 {
		t.Errorf("%d requests at the second server", n)
	}
}

// forward sends a request on, and its answer back, after any number of interim ones.
func forward(c net.Conn, r *http.Request, to string) error {
	out, err := http.NewRequest(r.Method, to+r.URL.RequestURI(), r.Body)
	if err != nil {
		return err
	}
	out.Header = r.Header
	res, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.WriteString(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n", 20)); err != nil {
		return err
	}
	return res.Write(c)
}

package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are in memory.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

// overHTTP2 sends one request to a handler over HTTP/2, and returns the response.
func overHTTP2(t *testing.T, h http.HandlerFunc) *http.Response {
	t.Helper()
	p := &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener, s.EnableHTTP2 = p, true
	s.StartTLS()
	t.Cleanup(s.Close)
	client := s.Client()
	client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		p.dialed <- theirs
		return ours, nil
	}
	res, err := client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.ProtoMajor != 2 {
		t.Fatal(res.Proto)
	}
	return res
}

// TestSilentStreamOverHTTP2 checks that the pause between two events has no limit.
func TestSilentStreamOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res := overHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
			c := &clientWriter{w: w, http2: r.ProtoMajor == 2}
			for range 3 {
				if err := c.send([]byte("data: x\n")); err != nil {
					t.Errorf("send: %v", err)
				}
				time.Sleep(3 * writeLimit)
			}
		})
		if body, err := io.ReadAll(res.Body); err != nil || len(body) != 24 {
			t.Errorf("%q %v", body, err)
		}
	})
}

// TestClientThatReadsNothingOverHTTP2 checks that a stream ends if the client does not accept a
// write in time.
func TestClientThatReadsNothingOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		res := overHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
			c := &clientWriter{w: w, http2: r.ProtoMajor == 2}
			for {
				if err := c.send(make([]byte, 256<<10)); err != nil {
					ended <- err
					return
				}
			}
		})
		began := time.Now()
		if err := <-ended; !errors.Is(err, errClientWrite) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != writeLimit {
			t.Errorf("after %v", took)
		}
		if _, err := io.Copy(io.Discard, bufio.NewReader(res.Body)); err == nil {
			t.Error("the response ended cleanly")
		}
	})
}

package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSetCertificate(t *testing.T) {
	first, second := &tls.Certificate{Certificate: [][]byte{{1}, {2}}}, &tls.Certificate{Certificate: [][]byte{{1}, {3}}}
	var c certificate
	f := func(cert *tls.Certificate, want byte, same bool) {
		t.Helper()
		before := c.config.Load()
		c.set(cert)
		now := c.config.Load()
		if (now == before) != same {
			t.Errorf("same configuration: %t, want %t", now == before, same)
		}
		if (now == nil) != (cert == nil) {
			t.Errorf("configuration %v for certificate %v", now, cert)
		}
		if now != nil && (now.Certificates[0].Certificate[1][0] != want || now.MinVersion != tls.VersionTLS12) {
			t.Errorf("%+v", now)
		}
	}
	f(first, 2, false)
	f(&tls.Certificate{Certificate: [][]byte{{1}, {2}}}, 2, true) // sessions can be resumed
	f(second, 3, false)
	f(nil, 0, false)
	f(nil, 0, true)
}

// pipes is a listener for in-memory connections.
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

// TestBodiesStallSeparatelyOverHTTP2: the pauses of a client are limited for each request, although
// the requests share a connection.
func TestBodiesStallSeparatelyOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The certificate of net/http's own tests.
		issuer := httptest.NewTLSServer(http.NotFoundHandler())
		issuer.Close()
		cert, roots := issuer.TLS.Certificates[0], issuer.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs

		var b bodyReader
		b.limiter.resize(64<<20, 1<<20)
		s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, problem := b.read(w, r, Limits{MaxBody: 1 << 20, BodyWait: time.Second}, owner{})
			if problem != nil {
				w.WriteHeader(problem.status)
				return
			}
			fmt.Fprintf(w, "%s %s", r.Proto, body.data)
		}), slog.New(slog.DiscardHandler))
		s.SetCertificate(&cert)
		p := &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
		s.serveLocked(p)
		dials := 0
		client := &http.Client{Transport: &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				dials++
				ours, theirs := net.Pipe()
				p.dialed <- theirs
				return ours, nil
			},
		}}
		post := func(pause time.Duration) (string, time.Duration) {
			body, to := io.Pipe()
			go func() {
				defer to.Close()
				for range 3 {
					if _, err := io.WriteString(to, "x"); err != nil {
						return
					}
					time.Sleep(pause)
				}
			}()
			began := time.Now()
			res, err := client.Post("https://127.0.0.1/", "text/plain", body)
			if err != nil {
				return err.Error(), time.Since(began)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			return fmt.Sprintf("%d %s %v", res.StatusCode, text, err), time.Since(began)
		}
		expect := func(pause time.Duration, want string, after time.Duration) {
			if got, took := post(pause); got != want || took != after {
				t.Errorf("pauses of %v: %q after %v, want %q after %v", pause, got, took, want, after)
			}
		}
		expect(0, "200 HTTP/2.0 xxx <nil>", 0)
		var both sync.WaitGroup
		both.Go(func() { expect(bodyStall+time.Second, "408  <nil>", bodyStall) })
		both.Go(func() {
			time.Sleep(bodyStall / 2)
			expect(bodyStall/4, "200 HTTP/2.0 xxx <nil>", 3*(bodyStall/4))
		})
		both.Wait()
		expect(0, "200 HTTP/2.0 xxx <nil>", 0)
		if dials != 1 {
			t.Errorf("%d connections", dials)
		}
		client.CloseIdleConnections()
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(bodyStall) // the client of the stalled body continues to write
	})
}

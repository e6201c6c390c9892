package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// TestEngineOfNewConnections: a change applies to new connections only.
func TestEngineOfNewConnections(t *testing.T) {
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, engineOf(w))
	}), slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = s.Drain(context.Background()) })
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	old := dialKept(t, s)
	want := func(c *keptConn, engine config.HTTPEngine) {
		t.Helper()
		if got := c.ask(t); got != string(engine) {
			t.Errorf("served by %q, want %q", got, engine)
		}
	}
	want(old, config.HTTPEngineFast)
	s.SetEngine(config.HTTPEngineGo)
	middle := dialKept(t, s)
	want(middle, config.HTTPEngineGo)
	want(old, config.HTTPEngineFast)
	s.SetEngine(config.HTTPEngineFast)
	want(dialKept(t, s), config.HTTPEngineFast)
	want(middle, config.HTTPEngineGo)
}

// TestIdleConnectionsOfNetHTTPAreClosed if there are no descriptors left.
func TestIdleConnectionsOfNetHTTPAreClosed(t *testing.T) {
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, engineOf(w)) }), slog.New(slog.DiscardHandler))
	s.SetEngine(config.HTTPEngineGo)
	t.Cleanup(func() { _ = s.Drain(context.Background()) })
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c := dialKept(t, s)
	c.ask(t)
	ended := make(chan error, 1)
	go func() {
		_, err := c.from.ReadByte()
		ended <- err
	}()
	shortage := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept", syscall.EMFILE)}
	for { // the connection becomes idle a moment after its response
		s.logServerError(shortage)
		select {
		case err := <-ended:
			if !errors.Is(err, io.EOF) {
				t.Errorf("the idle connection ended with %v", err)
			}
			return
		default:
		}
	}
}

// engineOf returns the engine of a response.
func engineOf(w http.ResponseWriter) config.HTTPEngine {
	if clock, ok := w.(*bodyClock); ok {
		w = clock.ResponseWriter
	}
	if strings.HasPrefix(fmt.Sprintf("%T", w), "*http.") {
		return config.HTTPEngineGo
	}
	return config.HTTPEngineFast
}

// keptConn is a client connection that is kept open.
type keptConn struct {
	net.Conn
	from *bufio.Reader
}

func dialKept(t *testing.T, s *Server) *keptConn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &keptConn{c, bufio.NewReader(c)}
}

// ask sends a request and returns the body of the response.
func (c *keptConn) ask(t *testing.T) string {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(c.from, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

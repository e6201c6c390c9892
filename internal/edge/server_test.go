package edge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
)

// isServing reports whether a server responds on an address.
func isServing(t *testing.T, address string) bool {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + address + "/")
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil
}

func TestListenMovesToAnotherAddress(t *testing.T) {
	s := NewServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	t.Cleanup(func() { s.Drain(context.Background()) })
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	first := s.Addr().String()
	_, port, err := net.SplitHostPort(first)
	if err != nil {
		t.Fatal(err)
	}

	if err := s.Listen(":" + port); err != nil || !isServing(t, first) {
		t.Errorf("from one host to all hosts on the same port: %v", err)
	}
	if err := s.Listen("192.0.2.1:" + port); err == nil || !isServing(t, first) {
		t.Errorf("a foreign host: %v, and the old address must still be served", err)
	}
	if err := s.Listen("127.0.0.1:0"); err != nil || !isServing(t, s.Addr().String()) || isServing(t, first) {
		t.Errorf("to another port: %v", err)
	}
}

func TestDrainAbortsAfterItsTimeout(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error)
	s := NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	}), slog.New(slog.DiscardHandler))
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go isServing(t, s.Addr().String())
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error)
	go func() { drained <- s.Drain(ctx) }()
	cancel()
	if cause := <-ended; cause == nil || cause.Error() != "claude-code-lb is stopping" {
		t.Errorf("the request ended because of %v", cause)
	}
	if err := <-drained; !errors.Is(err, context.Canceled) {
		t.Errorf("Drain = %v", err)
	}
}

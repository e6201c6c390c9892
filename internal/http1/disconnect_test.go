package http1_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHalfClosedClientGetsNoEmptyResponse: a client that has closed only its sending half keeps
// reading. It must not take a missing response for an empty one.
func TestHalfClosedClientGetsNoEmptyResponse(t *testing.T) {
	at := ours().serveTCP(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	c := dialTCP(t, at)
	_, _ = io.WriteString(c, get("Host: h"))
	_ = c.CloseWrite()
	if out, err := io.ReadAll(c); len(out) > 0 || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestConnectionClose checks that the response to a request whose body could not be read has
// "Connection: close".
func TestConnectionClose(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		at := e.serveTCP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Error("the body was read")
			}
			http.Error(w, "malformed", http.StatusBadRequest)
		}))
		c := dialTCP(t, at)
		_, _ = io.WriteString(c, post("Transfer-Encoding: chunked", "0x5\r\nhello\r\n"))
		out, _ := io.ReadAll(c)
		if all, _ := parseResponses(out, nil); len(all) != 1 || all[0].status != 400 || !strings.Contains(string(out), "\r\nConnection: close\r\n") {
			t.Errorf("got %q", out)
		}
	})
}

// TestShutdownBoundsIncompleteHeaders: a shutdown waits for an incomplete header no longer than for
// a connection that has sent nothing.
func TestShutdownBoundsIncompleteHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newMemListener()
		s := ours().server(http.HandlerFunc(hello), func(text string) { t.Error(text) })
		go s.Serve(l)
		first, later := l.dial(t), l.dial(t)
		first.send("GET /hea")
		later.send(get("Host: h"))
		later.response(t)
		later.send("GET /hea")
		synctest.Wait()
		begin := time.Now()
		if err := s.Shutdown(context.Background()); err != nil || time.Since(begin) > 7*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

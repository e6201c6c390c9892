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

// TestNothingIsNoAnswer: a client that has closed only its half of the connection reads on, and must not take nothing for an answer.
func TestNothingIsNoAnswer(t *testing.T) {
	at := ours().serveTCP(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	c := dialTCP(t, at)
	_, _ = io.WriteString(c, get("Host: h"))
	_ = c.CloseWrite()
	if out, err := io.ReadAll(c); len(out) > 0 || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestAnnouncedEnd: a client learns that the connection ends with the answer where its request could not be read.
func TestAnnouncedEnd(t *testing.T) {
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
		if all, _ := parseAnswers(out, nil); len(all) != 1 || all[0].status != 400 || !strings.Contains(string(out), "\r\nConnection: close\r\n") {
			t.Errorf("got %q", out)
		}
	})
}

// TestShutdownDoesNotWaitForHeads that have begun, longer than for connections that have brought nothing.
func TestShutdownDoesNotWaitForHeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newMemListener()
		s := ours().server(http.HandlerFunc(hello), func(text string) { t.Error(text) })
		go s.Serve(l)
		first, later := l.dial(t), l.dial(t)
		first.say("GET /hea")
		later.say(get("Host: h"))
		later.answer(t)
		later.say("GET /hea")
		synctest.Wait()
		begin := time.Now()
		if err := s.Shutdown(context.Background()); err != nil || time.Since(begin) > 7*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

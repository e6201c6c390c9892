package e2e

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// site is a simulated upstream with a separate listener, which can be closed. It keeps what it
// sends.
type site struct {
	*fake
	t       *testing.T
	address string
	door    *http.Server // nil while closed

	mu   sync.Mutex
	sent map[string]*transcript // by request id of the response
}

// newSite starts a site. It records every request.
func newSite(t *testing.T, name string, adjust ...func(*fakeclaude.Options)) *site {
	t.Helper()
	remember := func(o *fakeclaude.Options) { o.KeepRequests = 1 << 20 }
	s := &site{fake: newFake(t, name, append(adjust, remember)...), t: t, sent: map[string]*transcript{}}
	l := listenForGood(t)
	s.address = l.Addr().String()
	s.url = "http://" + s.address
	s.serve(l)
	t.Cleanup(s.down)
	return s
}

// listenForGood listens on a port that the system does not assign to others, so that it stays free
// while the listener is closed.
func listenForGood(t *testing.T) net.Listener {
	t.Helper()
	const lowest, count = 10_000, 20_000 // below the ports that systems assign
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(lowest+rand.IntN(count))))
		if err == nil {
			return l
		}
	}
	t.Fatal("no free port")
	return nil
}

func (s *site) serve(l net.Listener) {
	s.door = &http.Server{Handler: s}
	go s.door.Serve(l)
}

// up opens the listener again.
func (s *site) up() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.serve(l)
}

// down closes the listener and all connections.
func (s *site) down() {
	if s.door != nil {
		s.door.Close()
		s.door = nil
	}
}

// transcript records what it forwards.
type transcript struct {
	http.ResponseWriter
	keep func(*transcript)

	mu   sync.Mutex
	text bytes.Buffer
}

// Unwrap lets http.ResponseController reach the connection.
func (t *transcript) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// WriteHeader begins the response.
func (t *transcript) WriteHeader(status int) {
	t.keep(t)
	t.ResponseWriter.WriteHeader(status)
}

// Write records p before the client can receive it.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.text.Write(p)
	t.mu.Unlock()
	return t.ResponseWriter.Write(p)
}

// ServeHTTP responds and records the response.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.fake.ServeHTTP(&transcript{ResponseWriter: w, keep: s.keep}, r)
}

func (s *site) keep(t *transcript) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[t.Header().Get("Request-Id")] = t
}

// take returns and removes the recorded response of a request.
func (s *site) take(requestID string) (text []byte, found bool) {
	s.mu.Lock()
	t, found := s.sent[requestID]
	delete(s.sent, requestID)
	s.mu.Unlock()
	if !found {
		return nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.text.Bytes()), true
}

// hasSent reports whether any response so far contains a text.
func (s *site) hasSent(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.sent {
		t.mu.Lock()
		found := bytes.Contains(t.text.Bytes(), []byte(text))
		t.mu.Unlock()
		if found {
			return true
		}
	}
	return text == ""
}

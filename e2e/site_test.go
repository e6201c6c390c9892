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

// site is a simulated upstream behind a door of its own, which can be closed. It keeps what it sends.
type site struct {
	*fake
	t       *testing.T
	address string
	door    *http.Server // nil while it is closed

	mu   sync.Mutex
	sent map[string]*transcript // by request id of the answer
}

// newSite opens a site. It remembers every request.
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

// listenForGood finds a port that nobody gets who asks for any: it stays free while the door is closed.
func listenForGood(t *testing.T) net.Listener {
	t.Helper()
	const lowest, count = 10_000, 20_000 // below what systems hand out
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

// up opens the door again.
func (s *site) up() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.serve(l)
}

// down closes the door and all connections.
func (s *site) down() {
	if s.door != nil {
		s.door.Close()
		s.door = nil
	}
}

// transcript writes down what it passes on.
type transcript struct {
	http.ResponseWriter
	keep func(*transcript)

	mu   sync.Mutex
	text bytes.Buffer
}

// Unwrap lets http.ResponseController reach the connection.
func (t *transcript) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// WriteHeader begins the answer.
func (t *transcript) WriteHeader(status int) {
	t.keep(t)
	t.ResponseWriter.WriteHeader(status)
}

// Write is in the transcript before the client can have it.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.text.Write(p)
	t.mu.Unlock()
	return t.ResponseWriter.Write(p)
}

// ServeHTTP answers and keeps the answer.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.fake.ServeHTTP(&transcript{ResponseWriter: w, keep: s.keep}, r)
}

func (s *site) keep(t *transcript) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[t.Header().Get("Request-Id")] = t
}

// take returns what has been sent of an answer, and forgets it.
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

// hasSent reports whether any answer so far holds a text.
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

package transport

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestNewConnectionSurvivesAResponseWithoutBody sends requests over connections that are closed after
// them. A response without a body ends in the moment in which it arrives, and must arrive nevertheless.
func TestNewConnectionSurvivesAResponseWithoutBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()
	transport := netTransport{&http.Transport{}}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.NopCloser(strings.NewReader("x")))
				if err != nil {
					t.Error(err)
					return
				}
				res, err := transport.sendOnNewConn(r)
				if err != nil {
					t.Error(err)
					return
				}
				if res.Body.Close(); res.StatusCode != http.StatusInternalServerError {
					t.Errorf("status %d", res.StatusCode)
				}
			}
		})
	}
	all.Wait()
}

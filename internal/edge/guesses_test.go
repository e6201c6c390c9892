package edge

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWrongKeysAreSlowedDown checks the delays per address of a client, which a trusted proxy
// reports. A correct key from the same address is served at once.
func TestWrongKeysAreSlowedDown(t *testing.T) {
	f := newFront(t, 1, "client-key")
	s := *f.Current()
	s.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Swap(&s)
	var log strings.Builder
	f.guesses.Log = slog.New(slog.NewTextHandler(&log, nil))
	ask := func(key, from string) (int, time.Duration, http.Header) {
		r := httptest.NewRequest(http.MethodGet, "/v1/anything", nil)
		r.RemoteAddr = "10.0.0.1:99"
		r.Header.Set("X-Forwarded-For", "6.6.6.6, "+from)
		if key != "" {
			r.Header.Set("X-Api-Key", key)
		}
		w := httptest.NewRecorder()
		began := time.Now()
		f.ServeHTTP(w, r)
		return w.Code, time.Since(began), w.Header()
	}
	if status, took, _ := ask("client-key", "192.0.2.7"); status != http.StatusOK || took > time.Minute {
		t.Fatal(status, took)
	}
	synctest.Test(t, func(t *testing.T) {
		var last time.Duration
		for range 8 {
			status, took, h := ask("wrong", "192.0.2.7")
			if last = took; status != http.StatusUnauthorized || h.Get("X-Should-Retry") != "false" {
				t.Error(status, h)
			}
		}
		if last != time.Second {
			t.Errorf("the eighth took %v", last)
		}
		for range 10 {
			if status, took, _ := ask("", "192.0.2.9"); status != http.StatusUnauthorized || took != 0 {
				t.Errorf("no key at all: %d after %v", status, took)
			}
		}
		if status, took, _ := ask("wrong", "192.0.2.8"); status != http.StatusUnauthorized || took != 0 {
			t.Errorf("another address: %d after %v", status, took)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
	})
	if status, took, _ := ask("client-key", "192.0.2.7"); status != http.StatusOK || took > time.Minute {
		t.Error(status, took)
	}
	if text := log.String(); !strings.Contains(text, "address=192.0.2.7 count=1\n") || !strings.Contains(text, "address=192.0.2.7 count=7\n") || strings.Contains(text, "6.6.6.6") || strings.Count(text, "\n") != 3 {
		t.Error(text)
	}
	if f.WrongKeys() != 9 {
		t.Error(f.WrongKeys())
	}
}

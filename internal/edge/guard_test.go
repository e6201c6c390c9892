package edge

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/quota"
)

// TestOneGoodCredentialSuffices also covers a second credential that is an expired previous secret.
func TestOneGoodCredentialSuffices(t *testing.T) {
	sum := sha256.Sum256([]byte("old"))
	keys := []config.ClientKey{{Name: "ann", Key: config.NewSecret("new"), Previous: []config.PreviousKey{{KeySHA256: fmt.Sprintf("%x", sum), Until: "2020-01-01T00:00:00Z"}}}}
	ring := quota.NewBook(event.NewBus(slog.New(slog.DiscardHandler)), nil).Compile(t.Context(), &config.Config{AuthKeys: keys}, time.Now())
	guard := NewGuard(true, ring)
	for _, c := range []struct {
		apiKey, bearer string
		known, admits  bool
	}{{"new", "", true, true}, {"", "new", true, true}, {"old", "new", true, true}, {"new", "old", true, true}, {"bad", "new", true, true}, {"old", "", true, false}, {"old", "bad", true, false}, {"bad", "bad", false, false}} {
		r := httptest.NewRequest("POST", "/v1/messages", nil)
		r.Header.Set("X-Api-Key", c.apiKey)
		r.Header.Set("Authorization", "Bearer "+c.bearer)
		_, key, ok := guard.Authenticate(r)
		if ok != c.known || ok && (key.Admit(r.RemoteAddr, time.Now()) == nil) != c.admits {
			t.Errorf("%+v: %t", c, ok)
		}
	}
}

package edge

import (
	"net"
	"net/http"
	"strings"
	"time"

	"claude-code-lb/internal/quota"
)

// Guard knows the client keys of one generation.
type Guard struct {
	open bool
	keys *quota.Keyring
}

// NewGuard makes a guard that asks for one of keys, or for nothing when auth is off.
func NewGuard(auth bool, keys *quota.Keyring) *Guard { return &Guard{open: !auth, keys: keys} }

// Admit says who sent a request: the key, and a name for it, which is the address where no keys are asked for.
// It reports false for a request without a key that is known. Clients may use either credential header, and some send both.
func (g *Guard) Admit(r *http.Request) (client string, key *quota.Key, ok bool) {
	if g.open {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		return host, nil, true
	}
	key = g.keys.Find(r.Header.Get("X-Api-Key"))
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") && (key == nil || key.Replaced(time.Now())) {
		if other := g.keys.Find(strings.TrimSpace(token)); other != nil {
			key = other
		}
	}
	if key == nil {
		return "", nil, false
	}
	return key.Name(), key, true
}

package edge

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"strings"

	"claude-code-lb/internal/config"
)

// Guard knows the client keys of one generation, as hashes of equal length.
type Guard struct {
	open bool
	keys [][sha256.Size]byte
}

// NewGuard makes a guard that asks for one of keys, or for nothing when auth is off.
func NewGuard(auth bool, keys []config.Secret) *Guard {
	g := &Guard{open: !auth}
	for _, key := range keys {
		g.keys = append(g.keys, sha256.Sum256([]byte(key.Reveal())))
	}
	return g
}

// Admit says whether a request may pass, and a name for who sent it: the number
// of its key in the configuration, or its address where no keys are asked for.
// Clients may use either credential header, and some send both.
func (g *Guard) Admit(r *http.Request) (client string, ok bool) {
	if g.open {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		return host, true
	}
	found := g.find(r.Header.Get("X-Api-Key"))
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		found = max(found, g.find(strings.TrimSpace(token)))
	}
	if found == 0 {
		return "", false
	}
	return fmt.Sprintf("key-%d", found), true
}

// find returns the number of a key, counted from 1, or 0. Its time tells nothing about the keys.
func (g *Guard) find(key string) int {
	sum := sha256.Sum256([]byte(key))
	found := 0
	for i := range g.keys {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], g.keys[i][:]), i+1, found)
	}
	return found
}

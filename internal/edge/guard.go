package edge

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/quota"
)

// Guard authenticates clients by the keys of one generation.
type Guard struct {
	authOff bool
	keys    *quota.Keyring
}

// NewGuard returns a guard that requires one of keys, or no key if auth is false.
func NewGuard(auth bool, keys *quota.Keyring) *Guard { return &Guard{authOff: !auth, keys: keys} }

// Authenticate returns the client key of a request and a name for the client: the key's name, or
// the address if no key is required. It returns false for a request without a known key. Clients
// may use either credential header, and some send both.
func (g *Guard) Authenticate(r *http.Request) (client string, key *quota.Key, ok bool) {
	if g.authOff {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		return host, nil, true
	}
	key = g.keys.Find(r.Header.Get("X-Api-Key"))
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "Bearer") && (key == nil || key.Replaced(time.Now())) {
		if other := g.keys.Find(strings.TrimSpace(token)); other != nil {
			key = other
		}
	}
	if key == nil {
		return "", nil, false
	}
	return key.Name(), key, true
}

// refuseKey refuses a request without a known key. Repeated wrong keys from one address are refused
// with growing delays.
func (h *Handler) refuseKey(w http.ResponseWriter, r *http.Request, s *Snapshot, id string) {
	w.Header().Set("X-Should-Retry", "false")
	if hasCredential(r) {
		if wait, ok := h.guesses.Wrong(r.Context(), claude.ClientAddress(r.RemoteAddr, r.Header, s.Proxies)); !ok {
			h.rejected.add(http.StatusTooManyRequests)
			proxy.WriteError(w, http.StatusTooManyRequests, wait, claude.Error{
				Type: claude.ErrRateLimit, RequestID: id, Message: "Many wrong client keys came from this address: send one of the auth_keys of claude-code-lb.",
			})
			return
		}
	}
	h.refuse(w, http.StatusUnauthorized, claude.ErrAuthentication, id,
		"claude-code-lb does not know this client key: send one of its auth_keys as ANTHROPIC_AUTH_TOKEN (Authorization: Bearer) or as x-api-key.")
}

// hasCredential reports whether a request has any credential.
func hasCredential(r *http.Request) bool {
	return r.Header.Get("X-Api-Key") != "" || r.Header.Get("Authorization") != ""
}

// WrongKeys returns the number of requests with an unknown client key.
func (h *Handler) WrongKeys() int64 { return h.guesses.Total() }

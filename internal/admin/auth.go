package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
)

// keyHash is the hash of the admin key. The handler does not keep the key.
type keyHash [sha256.Size]byte

// SetKey replaces the admin key. An empty key means that no key is required.
func (h *Handler) SetKey(key config.Secret) {
	if key.Empty() {
		h.key.Store(nil)
		return
	}
	sum := keyHash(sha256.Sum256([]byte(key.Reveal())))
	h.key.Store(&sum)
}

// authorize returns the reason why a request is refused, or nil if it is allowed.
func (h *Handler) authorize(r *http.Request) *problem {
	if key := h.key.Load(); key != nil {
		if !hasKey(r, key) {
			return newProblem(http.StatusUnauthorized, "authentication_error", "Send the admin_key of the configuration as Authorization: Bearer or as x-api-key.")
		}
	} else if refusal := requireLocal(r); refusal != nil {
		return refusal
	}
	if err := h.origins.Check(r); err != nil {
		return newProblem(http.StatusForbidden, "cross_origin", "A page of another origin may not change anything here.")
	}
	return nil
}

// SetProxies replaces the trusted proxies, which report the client's address.
func (h *Handler) SetProxies(proxies []netip.Prefix) { h.proxies.Store(&proxies) }

// WrongKeys returns the number of requests with a wrong admin key.
func (h *Handler) WrongKeys() int64 { return h.guesses.Total() }

// delayRefusal delays the refusal of a wrong key, or replaces it if too many refusals are delayed
// already.
func (h *Handler) delayRefusal(r *http.Request, refusal *problem) *problem {
	if refusal.status != http.StatusUnauthorized || r.Header.Get("X-Api-Key") == "" && r.Header.Get("Authorization") == "" {
		return refusal
	}
	var proxies []netip.Prefix
	if p := h.proxies.Load(); p != nil {
		proxies = *p
	}
	if _, ok := h.guesses.Wrong(r.Context(), claude.ClientAddress(r.RemoteAddr, r.Header, proxies)); !ok {
		return newProblem(http.StatusTooManyRequests, "rate_limit_error", "Many wrong admin keys came from this address.")
	}
	return refusal
}

// levelOf returns the log level of a refusal. Package telemetry logs wrong keys.
func levelOf(refusal *problem) slog.Level {
	if refusal.status == http.StatusUnauthorized || refusal.status == http.StatusTooManyRequests {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// hasKey reports whether a request contains the key. Its duration reveals nothing about the key.
func hasKey(r *http.Request, key *keyHash) bool {
	candidates := []string{r.Header.Get("X-Api-Key")}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		candidates = append(candidates, strings.TrimSpace(token))
	}
	match := 0
	for _, candidate := range candidates {
		sum := sha256.Sum256([]byte(candidate))
		match |= subtle.ConstantTimeCompare(sum[:], key[:])
	}
	return match == 1
}

// requireLocal refuses requests that do not come from this machine. It checks the address of the
// connection, not the configuration, because connections outlive a reload. A page in a browser of
// this machine sends the page's host name, even if that name resolves to this machine (DNS
// rebinding).
func requireLocal(r *http.Request) *problem {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil || !claude.IsLoopback(local.String()) {
		return newProblem(http.StatusForbidden, "admin_key_needed", "Without an admin_key only the machine itself is served, at 127.0.0.1 or ::1.")
	}
	if !claude.IsLoopback(r.Host) {
		return newProblem(http.StatusForbidden, "wrong_host", "Without an admin_key ask for 127.0.0.1, [::1] or localhost, not for another name.")
	}
	for name := range r.Header {
		if claude.IsProxyHeader(name) { // a proxy or tunnel on this machine may serve any client
			return newProblem(http.StatusForbidden, "forwarded", "Without an admin_key only direct requests are served, and this one has the header "+name+" of a proxy: set an admin_key.")
		}
	}
	if claude.FromOtherOrigin(r) {
		return newProblem(http.StatusForbidden, "cross_origin", "A page of another origin may not load anything from here.")
	}
	return nil
}

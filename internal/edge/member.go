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

// memberPath is the path under which the holder of a client key sees the key's own usage.
const memberPath = "/lb/me"

// maxMemberForm bounds the form in which a browser sends a client key.
const maxMemberForm = 4 << 10

// Member is an authenticated request under memberPath.
type Member struct {
	ID          string     // of the request
	Key         *quota.Key // nil: auth is off, and the request comes from this machine
	Client      string     // name of the key, or the address without keys
	ShowServers bool       // names of servers may be shown
}

// MemberView serves the requests that the handler has authenticated. SignIn shows a browser the
// form for a client key; wrong means that the key that was sent is not valid.
type MemberView interface {
	ServeMember(w http.ResponseWriter, r *http.Request, m Member)
	SignIn(w http.ResponseWriter, r *http.Request, status int, wrong bool)
}

// isMemberPath reports whether a request is for the view of a key's own usage.
func isMemberPath(path string) bool {
	return path == memberPath || strings.HasPrefix(path, memberPath+"/")
}

// serveMember authenticates a request of the holder of a client key. Such a request is no traffic:
// it is neither counted nor recorded. Unlike other responses, these never have CORS headers.
func (h *Handler) serveMember(w http.ResponseWriter, r *http.Request, id string) {
	secureMember(w.Header())
	form := r.Method == http.MethodPost && r.URL.Path == memberPath
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !form {
		w.Header().Set("Allow", "GET, HEAD")
		h.refuse(w, http.StatusMethodNotAllowed, claude.ErrInvalidRequest, id, memberPath+" accepts GET and HEAD.")
		return
	}
	if h.Member == nil {
		h.refuse(w, http.StatusNotFound, claude.ErrNotFound, id, "This balancer has no "+memberPath+".")
		return
	}
	if claude.FromOtherOrigin(r) {
		h.refuse(w, http.StatusForbidden, claude.ErrPermission, id, "A page of another origin may not use "+memberPath+".")
		return
	}
	s := h.current.Load()
	if s.Guard.authOff {
		h.serveLocalMember(w, r, s, id)
		return
	}
	if form && !readKeyForm(w, r) {
		h.Member.SignIn(w, r, http.StatusBadRequest, true)
		return
	}
	client, key, ok := s.Guard.Authenticate(r)
	if !ok {
		h.refuseMember(w, r, s, id)
		return
	}
	if refusal := key.Admit(r.RemoteAddr, time.Now()); refusal != nil {
		proxy.WriteError(w, refusal.Status, 0, claude.Error{Type: refusal.Type, Message: refusal.Message, RequestID: id})
		return
	}
	h.Member.ServeMember(w, r, Member{ID: id, Key: key, Client: client, ShowServers: s.ShowServers})
}

// secureMember sets the headers of every response: no script, no frame, nothing from elsewhere.
func secureMember(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// refuseMember refuses a request without a known key. A browser gets a form for the key. Wrong keys
// go through the same protection against guesses as those of other requests.
func (h *Handler) refuseMember(w http.ResponseWriter, r *http.Request, s *Snapshot, id string) {
	if !acceptsHTML(r) || r.URL.Path != memberPath {
		h.refuseKey(w, r, s, id)
		return
	}
	wrong := hasCredential(r)
	if wrong {
		if _, ok := h.guesses.Wrong(r.Context(), claude.ClientAddress(r.RemoteAddr, r.Header, s.Proxies)); !ok {
			h.rejected.add(http.StatusTooManyRequests)
			h.Member.SignIn(w, r, http.StatusTooManyRequests, true)
			return
		}
		h.rejected.add(http.StatusUnauthorized)
	}
	h.Member.SignIn(w, r, http.StatusUnauthorized, wrong)
}

// serveLocalMember serves programs of this machine while no key is required.
func (h *Handler) serveLocalMember(w http.ResponseWriter, r *http.Request, s *Snapshot, id string) {
	if !isLocal(r) {
		h.refuse(w, http.StatusForbidden, claude.ErrPermission, id,
			"While auth is off, "+memberPath+" serves only direct requests of the balancer's own machine, at 127.0.0.1, [::1] or localhost.")
		return
	}
	client, _, _ := s.Guard.Authenticate(r)
	h.Member.ServeMember(w, r, Member{ID: id, Client: client, ShowServers: s.ShowServers})
}

// isLocal reports whether a request comes directly from this machine, and not through a proxy or a
// host name that was made to resolve to it (DNS rebinding).
func isLocal(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil || !claude.IsLoopback(local.String()) || !claude.IsLoopback(r.RemoteAddr) || !claude.IsLoopback(r.Host) {
		return false
	}
	for name := range r.Header {
		if claude.IsProxyHeader(name) {
			return false
		}
	}
	return true
}

// acceptsHTML reports whether a browser asks for a page.
func acceptsHTML(r *http.Request) bool {
	return r.Method == http.MethodPost || strings.Contains(r.Header.Get("Accept"), "text/html")
}

// readKeyForm takes the key from the form of a browser, which cannot send it in a header. The key
// is never part of a URL and never kept in a cookie.
func readKeyForm(w http.ResponseWriter, r *http.Request) bool {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(headerTimeout)) // without it, the client's pace decides
	r.Body = http.MaxBytesReader(w, r.Body, maxMemberForm)
	r.URL.RawQuery = ""
	err := r.ParseForm()
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if err != nil {
		return false
	}
	r.Header.Del("Authorization")
	r.Header.Set("X-Api-Key", strings.TrimSpace(r.PostForm.Get("key")))
	return true
}

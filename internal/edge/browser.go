package edge

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	preflightMethods    = "GET, HEAD, POST, PUT, PATCH, DELETE"
	preflightAge        = "7200" // seconds for which a browser may cache the response
	maxRequestedHeaders = 4 << 10
)

// Browsers decides which web pages may use the balancer. The zero value allows none.
type Browsers struct {
	origins   []string
	allowAny  bool // every page is allowed
	allowApps bool // applications with their own scheme are allowed
	authOff   bool // no client key is required
}

// NewBrowsers returns the rules for a configuration. origins is nil if the field is not set.
//
// With auth on, a page needs a client key like every client, and browsers never add one by
// themselves. So applications that run in a browser engine under their own scheme, such as
// app://obsidian.md, are allowed unless origins are listed. With auth off, every page on the web
// could spend the operator's tokens with a simple POST to 127.0.0.1, whose response it need not
// read. So requests of pages that are not listed are refused.
func NewBrowsers(origins []string, auth bool) *Browsers {
	return &Browsers{origins: origins, allowAny: slices.Contains(origins, "*"), allowApps: auth && origins == nil, authOff: !auth}
}

// allows reports whether a page of an origin may use the balancer.
func (b *Browsers) allows(origin string) bool {
	if b == nil || origin == "" || origin == "null" {
		return b != nil && b.allowAny && origin != ""
	}
	return b.allowAny || slices.Contains(b.origins, origin) || b.allowApps && !isWeb(origin)
}

// refuses reports whether a request comes from a page that is not allowed, while no key would stop
// it.
func (b *Browsers) refuses(h http.Header) bool {
	if b == nil || !b.authOff || b.allowAny {
		return false
	}
	if origin, sent := h["Origin"]; sent {
		return !(len(origin) == 1 && b.allows(origin[0])) && slices.ContainsFunc(origin, isWeb)
	}
	// For GET and HEAD browsers send no Origin, but current ones send this; other clients do not.
	site := h.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

// isWeb reports whether an origin is that of a web page, or opaque, which any page can be. file://
// is not: browsers send null for files, and only applications built on a browser engine send
// file://. The balancer serves no pages, so a page that seems to have the balancer's own origin
// uses a host name that was made to resolve to it (DNS rebinding).
func isWeb(origin string) bool {
	scheme, _, ok := strings.Cut(origin, "://")
	return !ok || scheme == "http" || scheme == "https"
}

// serveBrowser handles requests of browsers. It responds to OPTIONS and refuses pages that are not
// allowed, and then returns nil. Otherwise it returns the writer for the response, which adds CORS
// headers for an allowed page.
func (h *Handler) serveBrowser(w http.ResponseWriter, r *http.Request, id string) http.ResponseWriter {
	b := h.current.Load().Browsers
	origin := r.Header.Get("Origin")
	allowed := len(r.Header["Origin"]) == 1 && b.allows(origin)
	switch {
	case r.Method == http.MethodOptions:
		serveOptions(w, r.Header, origin, allowed)
		return nil
	case allowed:
		return &pageWriter{ResponseWriter: w, origin: origin}
	case strings.HasPrefix(r.URL.Path, "/v1/") && b.refuses(r.Header):
		h.logPage(origin)
		w.Header().Set("X-Should-Retry", "false")
		w.Header().Set("Vary", "Origin")
		h.refuse(w, http.StatusForbidden, claude.ErrPermission, id,
			"claude-code-lb refuses pages in browsers while auth is off: list the page's origin in cors_origins if it may spend the servers' tokens.")
		return nil
	}
	return w
}

// logPage logs refused pages at a limited rate, because a page cannot read the refusal.
func (h *Handler) logPage(origin string) {
	if h.pageLog.Allow(time.Now()) {
		h.log.Warn(telemetry.PageRefused, telemetry.Origin, printable(origin))
	}
}

// serveOptions responds to a preflight request, and to any other OPTIONS request. OPTIONS is never
// sent to an upstream.
func serveOptions(w http.ResponseWriter, asked http.Header, origin string, allowed bool) {
	h := w.Header()
	h.Set("Allow", preflightMethods+", OPTIONS")
	h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	if allowed {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Methods", preflightMethods)
		h.Set("Access-Control-Max-Age", preflightAge)
		if names := asked.Get("Access-Control-Request-Headers"); names != "" && len(names) <= maxRequestedHeaders {
			h.Set("Access-Control-Allow-Headers", names)
		}
		if asked.Get("Access-Control-Request-Private-Network") == "true" {
			h.Set("Access-Control-Allow-Private-Network", "true")
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// pageWriter adds CORS headers to every response, including errors.
type pageWriter struct {
	http.ResponseWriter
	origin       string
	headersAdded bool
}

// Unwrap gives http.ResponseController access to the wrapped writer.
func (w *pageWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *pageWriter) WriteHeader(status int) {
	w.addHeaders()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *pageWriter) Write(p []byte) (int, error) {
	w.addHeaders()
	return w.ResponseWriter.Write(p)
}

func (w *pageWriter) addHeaders() {
	if w.headersAdded {
		return
	}
	w.headersAdded = true
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", w.origin)
	h.Set("Access-Control-Expose-Headers", "*")
	h.Add("Vary", "Origin")
}

// printable shortens client text for the log and removes unprintable characters.
func printable(text string) string {
	const longest = 200
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text[:min(len(text), longest)])
}

package fakeclaude

import (
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// call is one request on its way through the server.
type call struct {
	server   *Server
	request  *http.Request
	body     []byte
	seq      uint64
	id       string
	ids      *rand.Rand
	start    time.Time
	settings Settings
	account  *Account
	message  *messageRequest // never nil
	bodyErr  error           // what is wrong with the body
	model    string
	stream   bool
	recorded *RecordedRequest
}

// parseBody parses the body, for the conditions of fault rules and for the response.
func (c *call) parseBody() {
	c.message = &messageRequest{}
	if _, ok := resourceAPIOf(c.request.URL.Path); !ok && c.request.Method == http.MethodPost && len(c.body) <= maxBody {
		c.message, c.bodyErr = decodeRequest(c.body)
	}
	c.model, c.stream = c.message.Model, c.message.Stream
}

// respond computes the response: that of a fault, or the normal one.
func (s *Server) respond(c *call, f fault.Fault) response {
	if account, ok := s.authenticate(c.request.Header); ok {
		c.account = account
	}
	if resp, ok := faultResponse(f, c); ok {
		return resp.withRequestID(c.id)
	}
	resp := s.normalResponse(c, f)
	switch {
	case resp.events != nil:
		resp.media = mediaStream
	case resp.media == "":
		resp.media = mediaJSON
	}
	return resp.withRequestID(c.id)
}

// normalResponse returns the response without a fault. The fault only makes sure that the response
// has the point at which it happens.
func (s *Server) normalResponse(c *call, f fault.Fault) response {
	if len(c.body) > maxBody {
		return errorResponse(http.StatusRequestEntityTooLarge, claude.ErrTooLarge, "Request exceeds the maximum size")
	}
	if k, ok := resourceAPIOf(c.request.URL.Path); ok {
		if _, ok := s.authenticate(c.request.Header); !ok {
			return unauthenticated(c.request.Header)
		}
		return s.respondResource(c, k)
	}
	route, allowed := routeOf(c.request.URL.Path)
	if route == nil {
		return errorResponse(http.StatusNotFound, claude.ErrNotFound, "Not found")
	}
	if c.request.Method != allowed {
		resp := errorResponse(http.StatusMethodNotAllowed, claude.ErrInvalidRequest, "Method Not Allowed")
		resp.header = map[string]string{"Allow": allowed}
		return resp
	}
	if _, ok := s.authenticate(c.request.Header); !ok {
		return unauthenticated(c.request.Header)
	}
	if c.request.Header.Get("Anthropic-Version") == "" {
		return invalidRequest("anthropic-version: header is required")
	}
	return route(s, c, f)
}

func routeOf(path string) (route func(*Server, *call, fault.Fault) response, method string) {
	switch {
	case path == claude.MessagesPath:
		return (*Server).respondMessage, http.MethodPost
	case path == "/v1/messages/count_tokens":
		return (*Server).respondCount, http.MethodPost
	case path == "/v1/models":
		return (*Server).respondModels, http.MethodGet
	case strings.HasPrefix(path, "/v1/models/"):
		return (*Server).respondModel, http.MethodGet
	}
	return nil, ""
}

// authenticate returns the account of the request's credential.
func (s *Server) authenticate(h http.Header) (*Account, bool) {
	key := credential(h)
	if key == "" {
		return nil, false
	}
	if s.keys == nil {
		return s.account, true
	}
	account, ok := s.keys[key]
	return account, ok
}

// credential returns the credential from either header; x-api-key has precedence.
func credential(h http.Header) string {
	if key := h.Get("X-Api-Key"); key != "" {
		return key
	}
	scheme, key, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}

func unauthenticated(h http.Header) response {
	switch {
	case credential(h) == "":
		return errorResponse(http.StatusUnauthorized, claude.ErrAuthentication, "x-api-key header is required")
	case h.Get("X-Api-Key") != "":
		return errorResponse(http.StatusUnauthorized, claude.ErrAuthentication, "invalid x-api-key")
	}
	return errorResponse(http.StatusUnauthorized, claude.ErrAuthentication, "Invalid bearer token")
}

// stableHash returns a hash that is the same in every process.
func stableHash(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b) // never fails
	return h.Sum64()
}

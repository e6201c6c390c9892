package claude

import (
	"net/http"
	"strings"

	"github.com/zeebo/xxh3"
)

const (
	maxSessionID = 128
	agentHeader  = "X-Claude-Code-Agent-Id"
)

// SessionID returns the session of the client: the header that Claude Code sends, or the session in
// metadata.user_id. Claude Code writes a JSON object into that string; before 2.1.78 it wrote
// user_…_session_<uuid> (observed). The result is "" if there is no session, or if the id is too
// long or not printable.
func SessionID(h http.Header, userID string) string {
	if id := h.Get("X-Claude-Code-Session-Id"); validSessionID(id) {
		return id
	}
	if id := sessionInUserID(userID); validSessionID(id) {
		return id
	}
	return ""
}

// AgentID returns the client's id of the agent that sends the request, "" for the main agent.
// Claude Code sends it since 2.1.139 (observed).
func AgentID(h http.Header) string {
	if id := h.Get(agentHeader); validSessionID(id) {
		return id
	}
	return ""
}

// ConversationKey returns a key of the conversation of a request: the session, the agent and the
// model, because each of them has separate prompts. It is 0 if the session is not known. Only
// requests of spawned agents name the agent in the header.
func ConversationKey(h http.Header, session, model string, seed uint64) uint64 {
	if session == "" {
		return 0
	}
	key := xxh3.HashStringSeed(session, seed)
	key = key*31 + xxh3.HashStringSeed(h.Get(agentHeader), seed)
	return max(key*31+xxh3.HashStringSeed(model, seed), 1)
}

func validSessionID(id string) bool {
	return 0 < len(id) && len(id) <= maxSessionID && isGraphic(id)
}

func sessionInUserID(userID string) string {
	if strings.HasPrefix(userID, "{") {
		id := ""
		s := scanner{text: []byte(userID)}
		for name := range s.document {
			if string(name) == "session_id" {
				id, _ = s.string()
			}
		}
		if s.err != nil {
			return ""
		}
		return id
	}
	const mark = "_session_"
	i := strings.LastIndex(userID, mark)
	if i < 0 {
		return ""
	}
	id := userID[i+len(mark):]
	if strings.Trim(id, "0123456789abcdef-") != "" {
		return ""
	}
	return id
}

// isGraphic reports whether s consists of printable ASCII characters other than spaces.
func isGraphic(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

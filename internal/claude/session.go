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

// SessionID is the client's session: the header that Claude Code sends, else the
// session inside metadata.user_id, where Claude Code writes a JSON object into the
// string, and wrote user_…_session_<uuid> before 2.1.78 (observed). It is "" when
// there is none, and when it is too long or not printable to serve as a key.
func SessionID(h http.Header, userID string) string {
	if id := h.Get("X-Claude-Code-Session-Id"); validSessionID(id) {
		return id
	}
	if id := sessionInUserID(userID); validSessionID(id) {
		return id
	}
	return ""
}

// AgentID is the client's id of the agent that asks, "" for the main one. Claude Code sends it since 2.1.139 (observed).
func AgentID(h http.Header) string {
	if id := h.Get(agentHeader); validSessionID(id) {
		return id
	}
	return ""
}

// ConversationKey names the conversation that a request belongs to: the session and, within it,
// the agent and the model, for each of these sends a prompt of its own. It is 0
// when no session is known. The header names the agent on requests of spawned agents only.
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

// isGraphic reports whether s consists of ASCII characters that leave ink.
func isGraphic(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

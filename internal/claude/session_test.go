package claude

import (
	"strings"
	"testing"
)

func TestSessionID(t *testing.T) {
	const uuid, other = "8d1c1a52-6f0e-4a58-9b0e-0f6a3d2c7b11", "00000000-1111-2222-3333-444444444444"
	f := func(inHeader, userID, want string) {
		t.Helper()
		h := header()
		if inHeader != "" {
			h.Set("x-claude-code-session-id", inHeader)
		}
		if got := SessionID(h, userID); got != want {
			t.Errorf("%q, %q: got %q, want %q", inHeader, userID, got, want)
		}
	}
	f("", "", "")
	f(uuid, "", uuid)
	f(uuid, "user_1_account__session_"+other, uuid)
	f("any-name", "", "any-name")

	f("", "user_1_account__session_"+uuid, uuid)
	f("", "user_1_session_x_account_"+other+"_session_"+uuid, uuid)
	f("", "user_1_account__session_", "")
	f("", "user_1_account__session_"+uuid+"_more", "")
	f("", "user_1_account__session_NOT-HEX", "")
	f("", "opaque", "")

	f("", `{"device_id":"d","account_uuid":"","session_id":"`+uuid+`"}`, uuid)
	f("", `{"session_id":"`+uuid+`","parent_session_id":"`+other+`","x":{"session_id":"`+other+`"}}`, uuid)
	f("", `{"session_id":7}`, "")
	f("", `{"session_id":"`+uuid+`"`, "")
	f("", `{"device_id":"_session_abc"}`, "")

	// Values that cannot be a key are ignored.
	f("two words", "user_1_session_"+uuid, uuid)
	f("caf\u00e9", "", "")
	f(strings.Repeat("a", 128), "", strings.Repeat("a", 128))
	f(strings.Repeat("a", 129), "", "")
	f("", "user_1_session_"+strings.Repeat("a", 129), "")
	f("", `{"session_id":"a\nb"}`, "")
}

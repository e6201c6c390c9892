package claude

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestWhatARequestFollows(t *testing.T) {
	f := func(body string, follows ...string) {
		t.Helper()
		var scanner PromptScanner
		_, p, err := scanner.Scan([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.ContinuationIDs, follows) {
			t.Errorf("%s: follows %q", body, p.ContinuationIDs)
		}
	}
	f(`{"thread":{"type":"create"},"messages":[]}`)
	f(`{"thread":{"type":"continue","previous_message_id":"msg_01A"}}`, "msg_01A")
	f(`{"thread":{"previous_message_id":"\u006dsg_01A","type":"continue"}}`, "msg_01A")
	f(`{"resumption":{"token":"opaque-token","at":{"message_id":"msg_2"}}}`, "opaque-token", "msg_2")
	f(`{"resumption":"opaque-token"}`, "opaque-token")
	f(`{"touch":{"message_id":"msg_01A"},"message_id":"msg_2"}`, "msg_01A", "msg_2")
	f(`{"messages":[{"role":"user","content":"msg_01A"}],"system":"msg_2","tools":[{"name":"msg_3"}],"metadata":{"user_id":"msg_4"}}`)
	f(`{"diagnostics":{"previous_message_id":"msg_01A"}}`)
	f(`{"thread":7,"resumption":null,"x":"msg_","y":"xmsg_1"}`)
	f(`{"resumption":"` + strings.Repeat("x", maxContinuationID+1) + `"}`)
	f(`{"x":["`+strings.Repeat(`msg_1 `, 100)+`"]}`, slices.Repeat([]string{"msg_1"}, maxContinuationIDs)...)
	f(`{"requests":[{"custom_id":"msg_1"}]}`)
}

func TestMessageIDsInAnAddress(t *testing.T) {
	u, _ := url.Parse("/v1/messages/msg_01AbC/resume?after=msg_2&x=amsg_3")
	h := http.Header{"Anthropic-Message": {"msg_4"}, "X-Other": {"msg_5"}}
	if got := MessageIDsIn(u, h); !slices.Equal(got, []string{"msg_01AbC", "msg_2", "msg_4"}) {
		t.Errorf("%q", got)
	}
}

func TestByWhatAResponseIsContinued(t *testing.T) {
	var m Message
	var events EventScanner
	events.Feed([]byte("event: message_start\ndata: {\"message\":{\"id\":\"msg_1\",\"thread\":{\"type\":\"created\",\"id\":\"thr_1\"}}}\n\n"+
		"event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"pause_turn\",\"resumption\":{\"token\":\"token-1\"}},\"resumption\":\"token-2\"}\n\n"), m.Observe)
	if m.ID != "msg_1" || !slices.Equal(m.ContinuationIDs, []string{"thr_1", "token-1", "token-2"}) {
		t.Errorf("%q %q", m.ID, m.ContinuationIDs)
	}
	plain, ok := ParseMessage([]byte(`{"type":"message","id":"msg_2","resumption":{"token":"token-3"}}`))
	if !ok || plain.ID != "msg_2" || !slices.Equal(plain.ContinuationIDs, []string{"token-3"}) {
		t.Errorf("%v %q %q", ok, plain.ID, plain.ContinuationIDs)
	}
}

func FuzzMessageIDs(f *testing.F) {
	f.Add([]byte(`{"thread":{"previous_message_id":"msg_1"}}`))
	f.Add([]byte(`amsg_1 msg_ msg_2`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var ids, strs continuationIDs
		ids.addMessageIDs(text)
		strs.addStrings(text)
		if len(ids) > maxContinuationIDs || len(strs) > maxContinuationIDs {
			t.Errorf("%d and %d names", len(ids), len(strs))
		}
		for _, id := range ids {
			if !strings.HasPrefix(id, "msg_") || len(id) > maxID || !strings.Contains(string(text), id) {
				t.Errorf("%q", id)
			}
		}
	})
}

package claude

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestResourceOf(t *testing.T) {
	f := func(method, target string, want Resource, ok bool) {
		t.Helper()
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if got, is := ResourceOf(method, u); got != want || is != ok {
			t.Errorf("%s %s: %+v, %t, want %+v, %t", method, target, got, is, want, ok)
		}
	}
	f("POST", "/v1/messages", Resource{}, false)
	f("POST", "/v1/messages/batches", Resource{Batch: true}, true)
	f("GET", "/v1/messages/batches", Resource{List: true}, true)
	f("GET", "/v1/messages/batches?after_id=msgbatch_1&limit=5", Resource{ID: "msgbatch_1", List: true}, true)
	f("GET", "/v1/messages/batches/msgbatch_01A-b", Resource{ID: "msgbatch_01A-b"}, true)
	f("GET", "/v1/messages/batches/msgbatch_1/results", Resource{ID: "msgbatch_1", Data: true}, true)
	f("POST", "/v1/messages/batches/msgbatch_1/cancel", Resource{ID: "msgbatch_1"}, true)
	f("POST", "/v1/files", Resource{Upload: true}, true)
	f("GET", "/v1/files/file_1/content?beta=true", Resource{ID: "file_1", Data: true}, true)
	f("DELETE", "/v1/files/file_1", Resource{ID: "file_1"}, true)
	f("GET", "/v1/files/../secrets", Resource{}, true)
	f("GET", "/v1/files/file_"+strings.Repeat("x", 200), Resource{}, true)
	f("GET", "/v1/filesystem", Resource{}, false)
	f("POST", "/v1/skills", Resource{Upload: true}, true)
	f("POST", "/v1/skills/skill_1/versions", Resource{ID: "skill_1", Upload: true}, true)
	f("GET", "/v1/skills/skill_1/versions", Resource{ID: "skill_1", List: true}, true)
	f("GET", "/v1/skills/skill_1/versions/17/content", Resource{ID: "skill_1", Data: true}, true)
	f("GET", "/v1/skills/pptx", Resource{}, true)
}

func TestNamedIDs(t *testing.T) {
	f := func(body string, want ...string) {
		t.Helper()
		var s PromptScanner
		_, p, err := s.Scan([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.IDs, want) {
			t.Errorf("%s: %q, want %q", body, p.IDs, want)
		}
	}
	f(`{"messages":[{"role":"user","content":"see file_1 and \"file_id\": \"file_2\""}]}`)
	f(`{"container":"container_1","messages":[]}`, "container_1")
	f(`{"container":{"id":"container_1","skills":[{"type":"anthropic","skill_id":"pptx","version":"latest"},{"type":"custom","skill_id":"skill_9"}]}}`, "container_1", "skill_9")
	f(`{"container":null,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}},{"type":"container_upload","file_id":"file_2"}]}]}`, "file_1", "file_2")
	f(`{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":"file_1"}}]}]}`)
	f(`{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"../../file_1"}}]}]}`)
}

func TestResourceIDs(t *testing.T) {
	f := func(body string, want ...string) {
		t.Helper()
		if got := ResourceIDs([]byte(body)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	f(`{"id":"msgbatch_1","type":"message_batch"}`, "msgbatch_1")
	f(`{"data":[{"id":"file_1"},{"id":"file_2"},{"id":"msg_3"}],"has_more":false}`, "file_1", "file_2")
	f(`{"id":7}`)
	f(`half`)
}

func TestPointResultsTo(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		if got := string(PointResultsTo([]byte(body), "https://lb.example")); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", body, got, want)
		}
	}
	f(`{"id":"msgbatch_1"}`, `{"id":"msgbatch_1"}`)
	f(`{"id":"msgbatch_1","results_url":null}`, `{"id":"msgbatch_1","results_url":null}`)
	f(`{"results_url" : "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results", "x":1}`,
		`{"results_url" : "https://lb.example/v1/messages/batches/msgbatch_1/results", "x":1}`)
	f(`{"data":[{"results_url":"https://relay.example/claude/v1/messages/batches/a/results"},{"results_url":"https://b/v1/messages/batches/b/results"}]}`,
		`{"data":[{"results_url":"https://lb.example/v1/messages/batches/a/results"},{"results_url":"https://lb.example/v1/messages/batches/b/results"}]}`)
	f(`{"results_url":"https://elsewhere.example/x"}`, `{"results_url":"https://elsewhere.example/x"}`)
}

func TestIDsInBatch(t *testing.T) {
	body := `{"requests":[{"custom_id":"a","params":{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id" : "file_1"}},{"type":"text","text":"\"file_id\":\"file_2\""}]}]}}]}`
	if got := IDsInBatch([]byte(body)); !slices.Equal(got, []string{"file_1"}) {
		t.Errorf("%q", got)
	}
	if got := IDsInBatch([]byte(`{"requests":[]}`)); got != nil {
		t.Errorf("%q", got)
	}
}

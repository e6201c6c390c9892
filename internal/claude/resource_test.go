package claude

import (
	"bytes"
	"encoding/json"
	"fmt"
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
		got, is := ResourceOf(method, u)
		if got.Name, got.Action, got.Prefix = "", "", ""; got != want || is != ok {
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
	f("GET", "/v1//files///file_1/content", Resource{ID: "file_1", Data: true}, true)
	f("GET", "/V1/Files", Resource{List: true}, true)
	f("GET", "/v1/files;x=1/file_1;y", Resource{ID: "file_1"}, true)
	f("GET", `/v1/files\file_1`, Resource{ID: "file_1"}, true)
	for path, want := range map[string]string{"/v1/sessions": " ", "/v1/sessions/sesn_1": "sesn_1 ", "/v1//Agents/agent_X/versions/": "agent_X versions", "/v1/memory_stores;x/memstore_1": "memstore_1 "} {
		if got, ok := CollectionOf("GET", path); !ok || got.Name+" "+got.Action != want || got.List != (want == " ") {
			t.Errorf("%s: %+v, %t", path, got, ok)
		}
	}
	for _, path := range []string{"/v1/messages", "/v1/files/file_1", "/v1", "/v1/", "/v1/sessionsx"} {
		if got, ok := CollectionOf("GET", path); ok {
			t.Errorf("%s: %+v", path, got)
		}
	}
	u := &url.URL{Path: "/v1/skills/pptx/versions/17"}
	if got, _ := ResourceOf("GET", u); got.Name != "pptx" || got.Action != "versions/17" {
		t.Errorf("%+v", got)
	}
}

func TestIDsAnywhere(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":{"b":["file_1",2,{"c":"container_2"}]},"file_3":"x","text":"see file_4"}`: "[file_1 container_2]",
		`["msgbatch_1", "\u0066ile_2"]`: "[msgbatch_1 file_2]",
		`"file_1"`:                      "[]",
		``:                              "[]",
		`{"a":"file_1"`:                 "[file_1]",
	} {
		if got := fmt.Sprint(AllIDs([]byte(body))); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestShortIDs(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := ShortenIDs(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	f("/v1/files/file_011CNha8iCJcU1wXNR6q4V8w/content", "/v1/files/file_011CNha8…/content")
	f("/v1/messages/batches/msgbatch_013Zva2C", "/v1/messages/batches/msgbatch_013Zva2C")
	f("/v1/messages", "/v1/messages")
	f("container_0123456789 and skill_0123456789-x", "container_01234567… and skill_01234567…")
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
	f(`{"messages":[{"content":[{"type":"tool_result","content":[{"type":"text","text":"x"},{"type":"image","source":{"file_id":"file_1"}}]}]}]}`, "file_1")
	f(`{"messages":[{"content":[{"type":"document","source":{"type":"content","content":[[],{},{"source":{"file_id":"file_1"}},{"file_id":"file_2"}]}}]}]}`, "file_1", "file_2")
	f(`{"messages":[{"content":[{"file_id":"file_1"},{"file_id":"file_1"}]}]}`, "file_1")
	f(`{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"file_1","source":{"file_id":"file_2"}}}]}]}`)
	f(`{"messages":[{"content":[{"type":"x","content":{"input":{"file_id":"file_1"},"file_id":"file_2"}}]}]}`, "file_2")
	f(`{"messages":[{"content":[{"source":{"\u0066ile_id":"file_1"}},{"file\u005fid":"fil\u0065_2"}]}]}`, "file_1", "file_2")
	f(`{"tools":[{"name":"x","file_id":"file_1","source":{"file_id":"file_2"}}],"messages":[]}`)
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
		if got := string(RewriteResultsURLs([]byte(body), "https://lb.example")); got != want {
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
	body = `{"requests":[{"params":{"container":{"id":"container_1","skills":[{"skill_id":"skill_1"}]}}},{"params":{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"file_1"}}]}]}}]}`
	if got := IDsInBatch([]byte(body)); !slices.Equal(got, []string{"container_1", "skill_1"}) {
		t.Errorf("%q", got)
	}
	for _, nothing := range []string{`{"requests":[]}`, `{"requests":{}}`, `[]`, ``, `{"requests":[{"params":"file_1"}]}`} {
		if got := IDsInBatch([]byte(nothing)); got != nil {
			t.Errorf("%s: %q", nothing, got)
		}
	}
}

// FuzzNamedIDs compares the ids inside a block with those in a tree of it.
func FuzzNamedIDs(f *testing.F) {
	f.Add([]byte(`{"a":[{"file_id":"file_1","input":{"file_id":"file_2"}},[],{"b":{"file_id":"file_3"}}],"file_id":7}`))
	f.Add([]byte(`[[[{"file_id" : "file_1"}, "file_id", {"file\u005fid":"file_2"}]]]`))
	f.Add([]byte(`"file_id"`))
	f.Fuzz(func(t *testing.T, block []byte) {
		var tree any
		if json.Unmarshal(block, &tree) != nil || !bytes.Contains(block, []byte(`"file_id"`)) || bytes.Contains(block, []byte(`\u`)) {
			return
		}
		var got resourceIDs
		got.addWithin(block)
		for _, id := range treeIDs(tree, nil) { // of equal members in one object a tree keeps only the last
			if !slices.Contains(got, id) {
				t.Errorf("%s: %q, and not %s", block, []string(got), id)
			}
		}
	})
}

func treeIDs(tree any, ids []string) []string {
	switch tree := tree.(type) {
	case []any:
		for _, each := range tree {
			ids = treeIDs(each, ids)
		}
	case map[string]any:
		for name, each := range tree {
			id, isText := each.(string)
			switch {
			case name == "file_id" && isText && isID(id):
				ids = append(ids, id)
			case name != "file_id" && name != "input":
				ids = treeIDs(each, ids)
			}
		}
	}
	return ids
}

// TestManyIDs checks linear time, and the limit maxIDs.
func TestManyIDs(t *testing.T) {
	f := func(named, want int) {
		t.Helper()
		var body strings.Builder
		body.WriteString(`{"messages":[{"role":"user","content":[{}`)
		for i := range named {
			fmt.Fprintf(&body, `,{"type":"document","source":{"type":"file","file_id":"file_%d"}}`, i)
		}
		body.WriteString(`]}]}`)
		batch := IDsInBatch([]byte(`{"requests":[{"params":` + body.String() + `}]}`))
		_, prompt, _ := (&PromptScanner{}).Scan([]byte(body.String()))
		if len(batch) != want || len(prompt.IDs) != want {
			t.Errorf("%d ids: %d in a batch and %d in a message, want %d", named, len(batch), len(prompt.IDs), want)
		}
	}
	f(recentIDs+1, recentIDs+1)
	f(maxIDs+1, maxIDs)
}

func TestHideKeys(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if got := RedactKeys(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	f("/v1/messages", "/v1/messages")
	f("/v1/files/sk-lb-ABCDEF234567/content", "/v1/files/sk-…/content")
	f("/sk-ant-api03-x_Y-z/v1/messages", "/sk-…/v1/messages")
	f("/v1/desk-lamps", "/v1/desk-lamps")
}

// TestFindNamed finds an id of another client key in any member, but not in content.
func TestFindNamed(t *testing.T) {
	foreign := func(id string) bool { return id == "file_foreign1" }
	for body, want := range map[string]bool{
		`{"mcp_servers":[{"file_id":"file_foreign1"}]}`:                                                                true,
		`{"tools":[{"type":"code_execution_20250825","container":"file_foreign1"}]}`:                                   true,
		`{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","id":"file_foreign1"}}]}]}`: true,
		`{"messages":[{"content":[{"type":"document","source":{"type":"file","File_ID":"file_foreign1"}}]}]}`:          true,
		`{"tools":[{"file_ids":["file_own","file_foreign1"]}]}`:                                                        true,
		`{"x":{"file":"f\u0069le_foreign1"}}`:                                                                          true,
		`{"x":{"file":"file_f\u006freign1"}}`:                                                                          true,
		`{"requests":[{"params":{"container":{"other":"file_foreign1"}}}]}`:                                            true,
		`{"x":{"file_id":"file_own"}}`:                                                                                 false,
		`{"messages":[{"role":"user","content":"file_foreign1"}]}`:                                                     false,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"file_foreign1"}]}]}`:                            false,
		`{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"file_foreign1"}}]}]}`:                         false,
		`{"tools":[{"name":"x","input_examples":[{"file_id":"file_foreign1"}]}]}`:                                      false,
		`{"system":"see file_foreign1 for more"}`:                                                                      false,
		`not JSON file_foreign1`:                                                                                       false,
	} {
		if _, found := FindForeignID([]byte(body), foreign); found != want {
			t.Errorf("%s: %t", body, found)
		}
	}
}

func TestIDsWithin(t *testing.T) {
	for text, want := range map[string]string{
		"/v1/containers/file_1;x":                  "[file_1]",
		"/v1/skills/%73kill%5f1":                   "[skill_1]",
		"/v1/x/%2573kill_1":                        "[kill_1 kill_1 skill_1]",
		"after%5Fid=file%5F1&x=1;before_id=file_2": "[before_id file_2 after_id file_1 before_id file_2]",
		"/v1/messages":                             "[]",
		"50%":                                      "[]",
	} {
		if got := fmt.Sprint(IDsInText(text)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

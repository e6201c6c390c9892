package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
)

// tenancy is a rig whose clients show keys, in front of a store of files, batches and skills.
type tenancy struct {
	*rig
	asked atomic.Int64
	ids   []string // that exist upstream, the newest first
	page  int      // largest page, even if more is requested
	extra func(w http.ResponseWriter, r *http.Request) bool
}

func newTenancy(t *testing.T, keys ...config.ClientKey) *tenancy {
	y := &tenancy{page: 1000}
	y.rig = newRig(t, y.serve)
	ring := quota.NewBook(event.NewBus(slog.New(slog.DiscardHandler)), nil).Compile(t.Context(), &config.Config{AuthKeys: keys}, time.Now())
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := ring.Find(r.Header.Get("X-Api-Key"))
		body, _ := io.ReadAll(r.Body)
		req := Request{ID: "req_lb_test", Client: key.Name(), Key: key, HTTP: r, Body: NewBody(body, nil), Start: time.Now(), Table: y.table, Settings: &y.settings}
		if r.Method == http.MethodPost && r.URL.Path == "/v1/files" {
			req.Body, req.Upload = Body{}, NewUpload(strings.NewReader(string(body)), int64(len(body)))
		}
		y.proxy.Serve(w, req)
	}))
	t.Cleanup(front.Close)
	y.front.Close()
	y.front = front
	return y
}

func named(names ...string) (keys []config.ClientKey) {
	for _, name := range names {
		name, group, _ := strings.Cut(name, "@")
		keys = append(keys, config.ClientKey{Name: name, Key: config.NewSecret(name), Group: group})
	}
	return keys
}

// serve is the upstream. A file is created by any POST to /v1/files, named in its body.
func (y *tenancy) serve(w http.ResponseWriter, r *http.Request) {
	y.asked.Add(1)
	if y.extra != nil && y.extra(w, r) {
		return
	}
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v1/messages") && !strings.Contains(r.URL.Path, "batches"):
		respond(200, jsonType, `{"id":"msg_1","type":"message","role":"assistant","model":"claude-test","content":[{"type":"x","content":{"file_id":"file_made"}}],"container":{"id":"container_made"},"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`)(w, r)
	case r.Method == http.MethodPost && (r.URL.Path == "/v1/files" || r.URL.Path == "/v1/messages/batches" || r.URL.Path == "/v1/skills"):
		id := strings.TrimSpace(string(body))
		if r.URL.Path != "/v1/files" {
			id = r.Header.Get("X-Make")
		}
		y.ids = append([]string{id}, y.ids...)
		respond(200, jsonType, fmt.Sprintf(`{"id":%q}`, id))(w, r)
	case r.URL.Path == "/v1/files" || r.URL.Path == "/v1/messages/batches":
		y.list(w, r)
	default:
		respond(200, jsonType, fmt.Sprintf(`{"id":%q,"path":%q}`, "x", r.URL.Path))(w, r)
	}
}

func (y *tenancy) list(w http.ResponseWriter, r *http.Request) {
	all := y.ids
	if after := r.URL.Query().Get("after_id"); after != "" {
		all = all[slices.Index(all, after)+1:]
	}
	limit, back := 20, false
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil {
		limit = n
	}
	if before := r.URL.Query().Get("before_id"); before != "" {
		all, back = all[:slices.Index(all, before)], true
	}
	limit = min(limit, y.page)
	page := all[:min(len(all), limit)]
	if back {
		page = all[max(0, len(all)-limit):]
	}
	data := []map[string]string{}
	for _, id := range page {
		data = append(data, map[string]string{"id": id, "filename": "f"})
	}
	out := map[string]any{"data": data, "has_more": len(page) < len(all), "first_id": nil, "last_id": nil, "note": "kept"}
	if len(page) > 0 {
		out["first_id"], out["last_id"] = page[0], page[len(page)-1]
	}
	text, _ := json.Marshal(out)
	respond(200, jsonType, string(text))(w, r)
}

func (y *tenancy) as(key, method, target, body string, header ...string) reply {
	y.t.Helper()
	req, err := http.NewRequest(method, y.front.URL+target, strings.NewReader(body))
	if err != nil {
		y.t.Fatal(err)
	}
	req.Header.Set("X-Api-Key", key)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		y.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	<-y.recorded
	return reply{res, string(text), err}
}

func (y *tenancy) upload(key, id string) {
	y.t.Helper()
	if got := y.as(key, "POST", "/v1/files", id); got.StatusCode != 200 {
		y.t.Fatalf("upload of %s: %d %s", id, got.StatusCode, got.Body)
	}
}

func batchBody(ids ...string) string {
	return `{"requests":[{"custom_id":"1","params":` + fileBody(ids...) + `}]}`
}

// TestResourcesOfOtherKeysAreNotFound names resources of another key in every place, and checks
// that no upstream is asked.
func TestResourcesOfOtherKeysAreNotFound(t *testing.T) {
	y := newTenancy(t, named("ann", "bob", "cid@team", "dee@team")...)
	y.upload("ann", "file_ann")
	y.upload("cid", "file_team")
	y.as("ann", "POST", "/v1/messages/batches", batchBody(), "X-Make", "msgbatch_ann")
	y.as("ann", "POST", "/v1/skills", "", "X-Make", "skill_ann")
	y.as("ann", "POST", "/v1/messages", fileBody()) // creates container_made and file_made

	type call struct{ method, target, body string }
	var calls []call
	for _, id := range []string{"file_ann", "file_made", "file_nobody"} {
		calls = append(calls, call{"GET", "/v1/files/" + id, ""}, call{"GET", "/v1/files/" + id + "/content", ""}, call{"DELETE", "/v1/files/" + id, ""},
			call{"HEAD", "/v1/files/" + id, ""}, call{"GET", "/v1//files/" + id, ""}, call{"GET", "/v1/files//" + id, ""}, call{"GET", "/V1/Files/" + id, ""}, call{"GET", "/v1/files;x/" + id, ""},
			call{"GET", "/v1/files%2F" + id, ""}, call{"GET", "/v1/files?after_id=" + id, ""}, call{"GET", "/v1/files?before_id=" + id, ""},
			call{"POST", "/v1/messages", fileBody(id)}, call{"POST", "/v1/messages?beta=true", fileBody("file_own", id)}, call{"POST", "/v1/messages/count_tokens", fileBody(id)},
			call{"POST", "/v1/messages", strings.Replace(fileBody(id), "file_id", `fil\u0065_id`, 1)}, call{"POST", "/v1/messages", fileBody(id) + "}"}, call{"POST", "/v1/messages", strings.Replace(fileBody(id), "{", `{"x":"\q`+"\x01"+`",`, 1)},
			call{"POST", "/v1/messages/batches", batchBody(id)}, call{"POST", "/v1/messages/batches", batchBody("file_own", id)})
	}
	for _, id := range []string{"msgbatch_ann", "msgbatch_nobody"} {
		calls = append(calls, call{"GET", "/v1/messages/batches/" + id, ""}, call{"GET", "/v1/messages/batches/" + id + "/results", ""}, call{"POST", "/v1/messages/batches/" + id + "/cancel", ""}, call{"DELETE", "/v1/messages/batches/" + id, ""})
	}
	for _, id := range []string{"skill_ann", "skill_nobody"} {
		calls = append(calls, call{"GET", "/v1/skills/" + id, ""}, call{"GET", "/v1/skills/" + id + "/versions", ""}, call{"POST", "/v1/skills/" + id + "/versions", ""}, call{"DELETE", "/v1/skills/" + id, ""},
			call{"POST", "/v1/messages", `{"model":"m","container":{"skills":[{"type":"custom","skill_id":"` + id + `"}]},"messages":[]}`},
			call{"POST", "/v1/messages/batches", `{"requests":[{"params":{"container":{"skills":[{"type":"custom","skill_id":"` + id + `"}]}}}]}`})
	}
	for _, id := range []string{"container_made", "container_nobody"} {
		calls = append(calls, call{"POST", "/v1/messages", `{"model":"m","container":"` + id + `","messages":[]}`}, call{"POST", "/v1/messages", `{"model":"m","container":{"id":"` + id + `"},"messages":[]}`})
	}
	// On unknown paths, ids that are known to belong to another key are not found.
	calls = append(calls, call{"POST", "/v1/sessions", `{"resources":[{"type":"file","file_id":"file_ann"}]}`}, call{"GET", "/v1/sessions?file_id=file_ann", ""}, call{"GET", "/v1/things/container_made", ""},
		call{"GET", "/v1/things/container_made;x", ""}, call{"GET", "/v1/things/container_made%00", ""}, call{"GET", "/v1/things/%2563ontainer_made", ""}, call{"GET", "/v1/skills/%2573kill_ann", ""},
		call{"GET", "/v1/files?x=1;after_id=file_ann", ""}, call{"GET", "/v1/files?ids[]=%66ile%5Fann", ""},
		call{"POST", "/v1/messages", `{"model":"m","messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","File_ID":"file_ann"}}]}]}`},
		call{"POST", "/v1/messages", `{"model":"m","messages":[],"tools":[{"type":"code_execution_20250825","name":"x","container":"container_made"}]}`},
		call{"POST", "/v1/messages/batches", `{"requests":[{"params":{"model":"m","messages":[],"tools":[{"type":"x","file_ids":["file_ann"]}]}}]}`})
	y.upload("bob", "file_own")
	asked := y.asked.Load()
	for _, c := range calls {
		got := y.as("bob", c.method, c.target, c.body)
		var e struct {
			Type  string
			Error struct{ Type, Message string }
		}
		ok := got.StatusCode == 404 && (c.method == "HEAD" || json.Unmarshal([]byte(got.Body), &e) == nil && e.Type == "error" && e.Error.Type == "not_found_error")
		if strings.HasSuffix(c.body, "}}") && !json.Valid([]byte(c.body)) {
			ok = got.StatusCode == 400
		}
		if !ok {
			t.Errorf("%s %s %s: %d %s", c.method, c.target, c.body, got.StatusCode, got.Body)
		}
	}
	if n := y.asked.Load() - asked; n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
	a, b := y.as("bob", "GET", "/v1/files/file_ann", ""), y.as("bob", "GET", "/v1/files/file_non", "")
	if strings.ReplaceAll(a.Body, "file_ann", "file_non") != b.Body || a.Header.Get("Content-Type") != b.Header.Get("Content-Type") {
		t.Errorf("the responses show which resource exists: %s and %s", a.Body, b.Body)
	}
	for _, c := range []struct{ key, method, target, body string }{
		{"ann", "GET", "/v1/files/file_ann", ""}, {"ann", "POST", "/v1/messages", fileBody("file_ann", "file_made")}, {"ann", "GET", "/v1/messages/batches/msgbatch_ann/results", ""},
		{"ann", "POST", "/v1/messages", `{"model":"m","container":"container_made","messages":[]}`}, {"ann", "GET", "/v1/skills/skill_ann/versions/1", ""}, {"bob", "GET", "/v1/skills/pptx", ""},
		{"dee", "GET", "/v1/files/file_team", ""}, {"dee", "POST", "/v1/messages", fileBody("file_team")}, {"bob", "POST", "/v1/messages", fileBody("file_own")},
		{"bob", "POST", "/v1/messages", `{"model":"m","messages":[{"role":"user","content":"what is file_ann?"}]}`},
		{"bob", "POST", "/v1/sessions", `{"title":"about file_nobody"}`},
	} {
		if got := y.as(c.key, c.method, c.target, c.body); got.StatusCode != 200 {
			t.Errorf("%s %s %s: %d %s", c.key, c.method, c.target, got.StatusCode, got.Body)
		}
	}
	y.as("ann", "DELETE", "/v1/skills/skill_ann/versions/1", "")
	if got := y.as("ann", "GET", "/v1/skills/skill_ann", ""); got.StatusCode != 200 {
		t.Errorf("a skill of which a version was deleted: %d", got.StatusCode)
	}
	y.as("ann", "DELETE", "/v1/files/file_ann", "")
	if got := y.as("ann", "GET", "/v1/files/file_ann", ""); got.StatusCode != 404 {
		t.Errorf("a file that was deleted: %d", got.StatusCode)
	}
	y.proxy.Resources.Claim("key dee", time.Now(), "file_of_dee") // before dee was in the team
	if dee, cid := y.as("dee", "GET", "/v1/files/file_of_dee", ""), y.as("cid", "GET", "/v1/files/file_of_dee", ""); dee.StatusCode != 200 || cid.StatusCode != 404 {
		t.Errorf("a resource that was created before the key joined its group: %d, %d", dee.StatusCode, cid.StatusCode)
	}
	y.settings.SharedResources = true
	if got := y.as("bob", "GET", "/v1/files/file_team", ""); got.StatusCode != 200 {
		t.Errorf("shared: %d", got.StatusCode)
	}
}

// TestSoleTenantUsesUnownedResources checks that a single tenant may use resources without an
// owner, but not those of a former key.
func TestSoleTenantUsesUnownedResources(t *testing.T) {
	y := newTenancy(t, named("ann", "bob")...)
	y.ids = []string{"file_old", "file_older"}
	y.upload("bob", "file_bob")
	y.settings.SoleTenant = true // bob's key is revoked
	for target, want := range map[string]int{"/v1/files/file_old": 200, "/v1/files/file_bob": 404} {
		if got := y.as("ann", "GET", target, ""); got.StatusCode != want {
			t.Errorf("%s: %d", target, got.StatusCode)
		}
	}
	if got := y.as("ann", "GET", "/v1/files", ""); strings.Contains(got.Body, "file_bob") || !strings.Contains(got.Body, "file_older") {
		t.Error(got.Body)
	}
	y.settings.SoleTenant = false // another key is created
	for _, id := range []string{"file_old", "file_older"} {
		if got := y.as("ann", "GET", "/v1/files/"+id, ""); got.StatusCode != 200 {
			t.Errorf("%s is lost: %d", id, got.StatusCode)
		}
		if got := y.as("bob", "GET", "/v1/files/"+id, ""); got.StatusCode != 404 {
			t.Errorf("%s belongs to another key: %d", id, got.StatusCode)
		}
	}
}

type listed struct {
	Data    []struct{ ID string }
	HasMore bool    `json:"has_more"`
	First   *string `json:"first_id"`
	Last    *string `json:"last_id"`
	Note    string
}

// TestListsShowOneTenant checks that pages are full although elements of others lie between, in
// both directions.
func TestListsShowOneTenant(t *testing.T) {
	y := newTenancy(t, named("ann", "bob")...)
	for i := range 300 {
		if i%10 == 0 {
			y.upload("ann", fmt.Sprintf("file_ann%03d", i))
		}
		y.upload("bob", fmt.Sprintf("file_bob%03d", i))
	}
	page := func(key, query string) (l listed) {
		t.Helper()
		got := y.as(key, "GET", "/v1/files?"+query, "")
		if err := json.Unmarshal([]byte(got.Body), &l); got.StatusCode != 200 || err != nil || l.Data == nil || l.Note != "kept" {
			t.Fatalf("%s: %d %s", query, got.StatusCode, got.Body)
		}
		if n := len(l.Data); n > 0 && (*l.First != l.Data[0].ID || *l.Last != l.Data[n-1].ID) || n == 0 && (l.First != nil || l.Last != nil) {
			t.Errorf("%s: cursors of %s", query, got.Body)
		}
		for _, each := range l.Data {
			if !strings.HasPrefix(each.ID, "file_"+key) {
				t.Errorf("%s is shown %s", key, each.ID)
			}
		}
		return l
	}
	for _, y.page = range []int{1000, 20} {
		for _, limit := range []int{1, 7, 20, 100} {
			var all []string
			for query := fmt.Sprint("limit=", limit); ; {
				l := page("ann", query)
				for _, each := range l.Data {
					all = append(all, each.ID)
				}
				if !l.HasMore {
					break
				}
				if len(l.Data) == 0 {
					t.Fatal("an empty page in the middle")
				}
				query = fmt.Sprintf("limit=%d&after_id=%s", limit, *l.Last)
			}
			if len(all) != 30 || all[0] != "file_ann290" || all[29] != "file_ann000" {
				t.Errorf("limit %d: %d in all", limit, len(all))
			}
		}
		if l := page("ann", "limit=3&before_id=file_ann100"); len(l.Data) != 3 || l.Data[2].ID != "file_ann110" || !l.HasMore {
			t.Errorf("backwards: %+v", l)
		}
	}
	asked := y.asked.Load()
	y.page = 1000
	if page("ann", "limit=100"); y.asked.Load()-asked > 2 {
		t.Errorf("%d pages of the upstream were read", y.asked.Load()-asked)
	}
}

// TestUnreadableListIsNotSent covers lists in unknown forms.
func TestUnreadableListIsNotSent(t *testing.T) {
	y := newTenancy(t, named("ann", "bob")...)
	y.upload("bob", "file_bob")
	y.upload("ann", "file_ann")
	for _, body := range []string{`["file_bob"]`, `{"files":[{"id":"file_bob"}]}`, `{"data":{"id":"file_bob"}}`, `{"data":["file_bob"]}`, "file_bob", `{"data":null}`, `{"data":[{"id":"file_bob"}`} {
		y.extra = func(w http.ResponseWriter, r *http.Request) bool { respond(200, jsonType, body)(w, r); return true }
		if got := y.as("ann", "GET", "/v1/files", ""); got.StatusCode != 502 || strings.Contains(got.Body, "file_bob") {
			t.Errorf("%s: %d %s", body, got.StatusCode, got.Body)
		}
	}
	// An upstream that ignores cursors, and a list that never ends: reading is bounded, and shows
	// nothing of others.
	pages := 0
	y.extra = func(w http.ResponseWriter, r *http.Request) bool {
		pages++
		respond(200, jsonType, `{"data":[{"id":"file_bob"}],"has_more":true,"last_id":"file_bob"}`)(w, r)
		return true
	}
	if got := y.as("ann", "GET", "/v1/files", ""); got.StatusCode != 502 || pages != 2 {
		t.Errorf("%d after %d pages: %s", got.StatusCode, pages, got.Body)
	}
	pages = 0
	y.extra = func(w http.ResponseWriter, r *http.Request) bool {
		pages++
		respond(200, jsonType, fmt.Sprintf(`{"data":[{"id":"file_%d"}],"has_more":true}`, pages))(w, r)
		return true
	}
	if got := y.as("ann", "GET", "/v1/files", ""); got.StatusCode != 200 && got.StatusCode != 502 || pages > maxPages+1 {
		t.Errorf("%d after %d pages: %s", got.StatusCode, pages, got.Body)
	}
}

// TestListsWithPageTokens checks that built-in elements and the upstream's page token are kept.
func TestListsWithPageTokens(t *testing.T) {
	y := newTenancy(t, named("ann", "bob")...)
	y.as("ann", "POST", "/v1/skills", "", "X-Make", "skill_ann")
	y.extra = func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Query().Get("page") {
		case "":
			respond(200, jsonType, `{"data":[{"id":"skill_bob","type":"skill","source":"custom"}],"has_more":true,"next_page":"two"}`)(w, r)
		case "two":
			respond(200, jsonType, `{"data":[{"id":"skill_ann","type":"skill","source":"custom"},{"id":"pptx","type":"skill","source":"anthropic"},{"id":"skill_x","type":"skill","source":"anthropic"}],"has_more":true,"next_page":"three"}`)(w, r)
		default:
			respond(200, jsonType, `{"data":[],"has_more":false,"next_page":null}`)(w, r)
		}
		return true
	}
	if got := y.as("ann", "GET", "/v1/skills", ""); got.Body != `{"data":[{"id":"skill_ann","type":"skill","source":"custom"},{"id":"pptx","type":"skill","source":"anthropic"}],"has_more":false,"next_page":null}` {
		t.Error(got.Body)
	}
	if got := y.as("bob", "GET", "/v1/skills?page=two", ""); !strings.Contains(got.Body, `"data":[{"id":"pptx"`) || !strings.Contains(got.Body, `"next_page":"three"`) {
		t.Error(got.Body)
	}
}

// TestOwnersOfResourcesOfOtherAPIs checks the owners of resources of other APIs.
func TestOwnersOfResourcesOfOtherAPIs(t *testing.T) {
	y := newTenancy(t, named("ann", "bob")...)
	y.extra = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && r.URL.Path == "/v1/sessions" {
			respond(200, jsonType, `{"data":[{"id":"sesn_ann"},{"id":"sesn_console"}],"next_page":null}`)(w, r)
			return true
		}
		respond(200, jsonType, `{"id":"sesn_ann"}`)(w, r)
		return true
	}
	y.as("ann", "POST", "/v1/sessions", `{"agent":"agent_console"}`)
	for _, c := range []struct {
		key, method, target, body string
		want                      int
	}{
		{"ann", "GET", "/v1/sessions/sesn_ann", "", 200}, {"ann", "POST", "/v1/sessions/sesn_ann/events", `{"events":[]}`, 200},
		{"bob", "GET", "/v1/sessions/sesn_ann", "", 404}, {"bob", "GET", "/v1/Sessions//sesn_ann/events", "", 404}, {"bob", "POST", "/v1/sessions/sesn_ann", "{}", 404},
		{"bob", "GET", "/v1/sessions/sesn_console", "", 404}, {"bob", "POST", "/v1/deployments", `{"initial":{"session":"sesn_ann"}}`, 404},
	} {
		if got := y.as(c.key, c.method, c.target, c.body); got.StatusCode != c.want {
			t.Errorf("%s %s %s: %d %s", c.key, c.method, c.target, got.StatusCode, got.Body)
		}
	}
	if got := y.as("bob", "GET", "/v1/sessions", ""); got.Body != `{"data":[],"has_more":false,"next_page":null}` {
		t.Error(got.Body)
	}
	if got := y.as("ann", "GET", "/v1/sessions", ""); !strings.Contains(got.Body, "sesn_ann") || strings.Contains(got.Body, "console") {
		t.Error(got.Body)
	}
}

// TestFilesOfABatchBelongToItsKey checks that files in fetched batch results belong to the key, but
// not ids in a model's text.
func TestFilesOfABatchBelongToItsKey(t *testing.T) {
	y := newTenancy(t, named("ann", "bob")...)
	y.settings.Prices = ledger.ListPrices()
	y.as("ann", "POST", "/v1/messages/batches", batchBody(), "X-Make", "msgbatch_ann")
	y.extra = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("Range") != "" {
			t.Errorf("results are requested with %v, so that they could not be read", r.Header)
		}
		respond(200, "application/x-jsonl", `{"custom_id":"1","result":{"type":"succeeded","message":{"type":"message","model":"claude-test","content":[{"type":"code_execution_tool_result","content":{"content":[{"file_id":"file_out"}]}},{"type":"tool_use","input":{"file_id":"file_console"}}],"container":{"id":"container_out"},"usage":{"input_tokens":1,"output_tokens":1}}}}`+"\n")(w, r)
		return true
	}
	y.as("ann", "GET", "/v1/messages/batches/msgbatch_ann/results", "", "Accept-Encoding", "gzip", "Range", "bytes=0-9")
	y.extra = nil
	for id, want := range map[string]int{"file_out": 200, "file_console": 404} {
		if got := y.as("ann", "GET", "/v1/files/"+id, ""); got.StatusCode != want {
			t.Errorf("%s: %d", id, got.StatusCode)
		}
		if got := y.as("bob", "GET", "/v1/files/"+id, ""); got.StatusCode != 404 {
			t.Errorf("%s for another key: %d", id, got.StatusCode)
		}
	}
}

// TestLargeBatchIsNotForwardedUnchecked matters because the batch could name resources of other
// keys.
func TestLargeBatchIsNotForwardedUnchecked(t *testing.T) {
	y := newTenancy(t, named("ann", "bob")...)
	ring := quota.NewBook(event.NewBus(slog.New(slog.DiscardHandler)), nil).Compile(t.Context(), &config.Config{AuthKeys: named("ann")}, time.Now())
	r := httptest.NewRequest("POST", "/v1/messages/batches", nil)
	y.upload("bob", "file_bob")
	asked := y.asked.Load()
	w := httptest.NewRecorder()
	y.proxy.Serve(w, Request{ID: "x", Key: ring.Find("ann"), HTTP: r, Upload: NewUpload(strings.NewReader("{}"), 2), Start: time.Now(), Table: y.table, Settings: &y.settings})
	if w.Code != 413 || y.asked.Load() != asked {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// keeper is an account that knows some ids, and returns 404 for every other file or path.
func keeper(asked *atomic.Int64, ids ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		named := r.URL.Path + string(body)
		for _, id := range ids {
			if strings.Contains(named, id) {
				respond(200, jsonType, fmt.Sprintf(`{"id":%q,"type":"message","content":[],"usage":{"output_tokens":1},"container":{"id":"container_of_%s"}}`, id, id))(w, r)
				return
			}
		}
		message := "nothing here"
		if at := strings.Index(named, `"file_id":"`); at >= 0 {
			message, _, _ = strings.Cut(named[at+len(`"file_id":"`):], `"`)
		}
		respond(404, jsonType, `{"type":"error","error":{"type":"not_found_error","message":"Not found: `+message+`"}}`)(w, r)
	}
}

// fileBody returns a request for a message that names files.
func fileBody(ids ...string) string {
	var blocks []string
	for _, id := range ids {
		blocks = append(blocks, `{"type":"document","source":{"type":"file","file_id":"`+id+`"}}`)
	}
	return `{"model":"claude-test","messages":[{"role":"user","content":[` + strings.Join(blocks, ",") + `]}]}`
}

// accounts is a rig in front of three keepers.
func accounts(t *testing.T) (r *rig, asked *[3]atomic.Int64) {
	asked = &[3]atomic.Int64{}
	r = newRig(t, keeper(&asked[0], "file_a"), keeper(&asked[1], "file_b", "msgbatch_b"), keeper(&asked[2], "file_c"))
	return r, asked
}

func TestUnknownIDIsSearchedFor(t *testing.T) {
	r, asked := accounts(t)
	count := func() [3]int64 { return [3]int64{asked[0].Load(), asked[1].Load(), asked[2].Load()} }
	f := func(method, path, body string, status int, want [3]int64) {
		t.Helper()
		if got := r.send(method, path, body); got.StatusCode != status {
			t.Errorf("%s %s: status %d %s", method, path, got.StatusCode, got.Body)
		}
		if got := count(); got != want {
			t.Errorf("%s %s: asked %v, want %v", method, path, got, want)
		}
		if c := r.table.Counts(r.last().Start); c.Available != 3 {
			t.Errorf("%s %s: an endpoint is in cooldown: %+v", method, path, c)
		}
	}
	f("GET", "/v1/files/file_c", "", 200, [3]int64{1, 1, 1})
	f("GET", "/v1/files/file_c/content", "", 200, [3]int64{1, 1, 2}) // the owner is recorded
	f("POST", "/v1/messages", fileBody("file_b"), 200, [3]int64{2, 2, 2})
	f("POST", "/v1/messages", fileBody("file_b"), 200, [3]int64{2, 3, 2})
	f("GET", "/v1/messages/batches/msgbatch_b", "", 200, [3]int64{3, 4, 2})
	f("POST", "/v1/messages/batches/msgbatch_b/cancel", "", 200, [3]int64{3, 5, 2})
	f("GET", "/v1/files/file_nowhere", "", 404, [3]int64{4, 6, 3})
	f("DELETE", "/v1/files/file_c", "", 200, [3]int64{4, 6, 4})
	f("GET", "/v1/files/file_c", "", 200, [3]int64{5, 7, 5}) // the owner of a deleted file is unknown again
	f("POST", "/v1/messages", `{"model":"m","container":"container_of_file_b","messages":[]}`, 200, [3]int64{5, 8, 5})
}

func TestIDsOfTwoAccounts(t *testing.T) {
	r, asked := accounts(t)
	r.send("GET", "/v1/files/file_a", "")
	r.send("GET", "/v1/files/file_b", "")
	before := asked[0].Load() + asked[1].Load() + asked[2].Load()
	got := r.send("POST", "/v1/messages", fileBody("file_a", "file_b"))
	if got.StatusCode != 400 || !strings.Contains(got.Body, "file_a and file_b belong to different accounts") || !strings.Contains(got.Body, "invalid_request_error") {
		t.Errorf("%d %s", got.StatusCode, got.Body)
	}
	if asked[0].Load()+asked[1].Load()+asked[2].Load() != before {
		t.Error("an upstream was asked")
	}
}

// TestOwnerIsNeverReplaced checks that no other account is asked for an id whose owner is known.
func TestOwnerIsNeverReplaced(t *testing.T) {
	var others atomic.Int64
	owner := sequence(respond(200, jsonType, `{"id":"file_x"}`), respond(500, jsonType, `{}`))
	r := newRig(t, owner, keeper(&others))
	r.send("GET", "/v1/files/file_x", "")
	if got := r.send("POST", "/v1/messages", fileBody("file_x")); got.StatusCode != 500 || others.Load() != 0 {
		t.Errorf("%d %s, another account was asked %d times", got.StatusCode, got.Body, others.Load())
	}
}

func TestResultsURLPointsToTheBalancer(t *testing.T) {
	r := newRig(t, respond(200, jsonType, `{"id":"msgbatch_1","results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}`))
	got := r.send("GET", "/v1/messages/batches/msgbatch_1", "")
	if want := `{"id":"msgbatch_1","results_url":"` + r.front.URL + `/v1/messages/batches/msgbatch_1/results"}`; got.Body != want || got.Err != nil {
		t.Errorf("got %s, %v, want %s", got.Body, got.Err, want)
	}
}

// TestBatchIsCreatedOnce checks that, if it is not known whether a batch was created, the client
// gets an error and no other account is asked.
func TestBatchIsCreatedOnce(t *testing.T) {
	f := func(first http.HandlerFunc, status int, others int64) {
		t.Helper()
		var asked atomic.Int64
		r := newRig(t, first, counted(&asked, respond(200, jsonType, `{"id":"msgbatch_1"}`)))
		got := r.send("POST", "/v1/messages/batches", `{"requests":[]}`)
		if got.StatusCode != status || asked.Load() != others {
			t.Errorf("status %d %s, the other account was asked %d times, want %d and %d", got.StatusCode, got.Body, asked.Load(), status, others)
		}
		if final := got.Header.Get("X-Should-Retry") == "false"; final != (status == 503) {
			t.Errorf("status %d: x-should-retry is false: %t", status, final)
		}
	}
	f(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, 0)
	f(respond(504, jsonType, `{"type":"error","error":{"type":"timeout_error","message":"too slow"}}`), 504, 0)
	f(limited(), 200, 1)
	f(overloaded(), 200, 1)
	f(respond(401, jsonType, `{"type":"error","error":{"type":"authentication_error","message":"no"}}`), 200, 1)
	f(respond(403, "text/html", "<html>"), 200, 1)
}

// TestNotFoundNeedsAllAccounts checks that "not found" is not sent while an account could not be
// asked.
func TestNotFoundNeedsAllAccounts(t *testing.T) {
	var asked atomic.Int64
	f := func(other http.HandlerFunc, status int, text string) {
		t.Helper()
		r := newRig(t, keeper(&asked), other)
		got := r.send("GET", "/v1/files/file_x", "")
		if got.StatusCode != status || !strings.Contains(got.Body, text) {
			t.Errorf("status %d %s, want %d and %q", got.StatusCode, got.Body, status, text)
		}
	}
	f(keeper(&asked), 404, "nothing here")
	f(respond(401, jsonType, `{"type":"error","error":{"type":"authentication_error","message":"no"}}`), 503, "Not every account could be asked for file_x")
	f(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, "Not every account could be asked for file_x")
	f(respond(500, jsonType, `{"type":"error","error":{"type":"api_error","message":"broken"}}`), 500, "broken")
}

func TestOwnersFailureNamesTheID(t *testing.T) {
	var others atomic.Int64
	owner := sequence(respond(200, jsonType, `{"id":"file_x"}`), respond(401, jsonType, `{"type":"error","error":{"type":"authentication_error","message":"no"}}`))
	r := newRig(t, owner, keeper(&others))
	r.send("GET", "/v1/files/file_x", "")
	got := r.send("GET", "/v1/files/file_x", "")
	if got.StatusCode != 503 || !strings.Contains(got.Body, "The account that keeps file_x refused its credential") || others.Load() != 0 {
		t.Errorf("%d %s, another account was asked %d times", got.StatusCode, got.Body, others.Load())
	}
}

// TestListPagesComeFromOneAccount covers page tokens, which name no account.
func TestListPagesComeFromOneAccount(t *testing.T) {
	var asked [2]atomic.Int64
	list := respond(200, jsonType, `{"data":[],"next_page":"page_1"}`)
	r := newRigWith(t, func(cfg *config.Config) { cfg.Mode, cfg.Algorithm = config.ModeLoadBalance, config.RoundRobin },
		counted(&asked[0], list), counted(&asked[1], list))
	for _, query := range []string{"", "?page=page_1", "?page=page_1&limit=5"} {
		if got := r.send("GET", "/v1/files"+query, ""); got.StatusCode != 200 {
			t.Errorf("status %d %s", got.StatusCode, got.Body)
		}
	}
	if asked[0].Load() != 3 || asked[1].Load() != 0 {
		t.Errorf("asked %d and %d times", asked[0].Load(), asked[1].Load())
	}
}

// TestStreamedIDsAreRecordedBeforeTheyAreSent matters because a client may name an id before the
// stream has ended.
func TestStreamedIDsAreRecordedBeforeTheyAreSent(t *testing.T) {
	const start, content = "event: message_start\ndata: {\"message\":{\"id\":\"msg_1\"}}\n\n",
		"event: content_block_start\ndata: {\"content_block\":{\"content\":{\"content\":[{\"file_id\":\"file_made\"}]}}}\n\n"
	more := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet {
			respond(200, jsonType, `{"id":"file_made"}`)(w, req)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, start+content)
		http.NewResponseController(w).Flush()
		<-more
		io.WriteString(w, "event: message_delta\ndata: {\"delta\":{\"container\":{\"id\":\"container_1\"}}}\n\nevent: message_stop\ndata: {}\n\n")
	}, keeper(new(atomic.Int64)))
	req, err := http.NewRequest("POST", r.front.URL+"/v1/messages", strings.NewReader(`{"model":"m","stream":true,"messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	owner := func(id string) bool {
		_, known := r.owners.Of(id, time.Now())
		return known
	}
	if _, err := io.ReadFull(res.Body, make([]byte, len(start+content))); err != nil || !owner("file_made") || owner("container_1") {
		t.Errorf("%v: owner of the streamed id known: %t, of the later id: %t", err, owner("file_made"), owner("container_1"))
	}
	close(more)
	_, err = io.Copy(io.Discard, res.Body)
	<-r.recorded // the client may have the end before the owner is recorded
	if err != nil || !owner("container_1") {
		t.Errorf("at the end: %v, known: %t", err, owner("container_1"))
	}
}

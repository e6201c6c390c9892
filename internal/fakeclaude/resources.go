package fakeclaude

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// resourceStore is what an account keeps under ids of its own: files, batches and
// skills. No other account can see any of it. The account's lock guards it.
type resourceStore struct {
	items []*item // in the order of their creation
}

// item is one file, batch or skill.
type item struct {
	id    string
	about map[string]any // what the API says of it
	data  []byte         // a file's content, a batch's results
	media string
}

func (s *resourceStore) find(id string) *item {
	i := slices.IndexFunc(s.items, func(each *item) bool { return each.id == id })
	if i < 0 {
		return nil
	}
	return s.items[i]
}

func (s *resourceStore) remove(id string) {
	s.items = slices.DeleteFunc(s.items, func(each *item) bool { return each.id == id })
}

// kept is one of the APIs that keep something (API reference of each).
type kept struct {
	root   string // of its paths
	prefix string // of its ids
	kind   string // type of its objects
	shelf  func(*Account) *resourceStore
	make   func(*Server, *call) (*item, error)
}

// keeping finds the API that serves a path.
func keeping(path string) (kept, bool) {
	for _, k := range [...]kept{
		{"/v1/messages/batches", "msgbatch_", "message_batch", func(a *Account) *resourceStore { return &a.batches }, (*Server).makeBatch},
		{"/v1/files", "file_", "file", func(a *Account) *resourceStore { return &a.files }, (*Server).makeFile},
		{"/v1/skills", "skill_", "skill", func(a *Account) *resourceStore { return &a.skills }, (*Server).makeSkill},
	} {
		if path == k.root || strings.HasPrefix(path, k.root+"/") {
			return k, true
		}
	}
	return kept{}, false
}

// respondKept serves one of these APIs.
func (s *Server) respondKept(c *call, k kept) response {
	id, action, _ := strings.Cut(strings.Trim(strings.TrimPrefix(c.request.URL.Path, k.root), "/"), "/")
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	shelf := k.shelf(c.account)
	switch method := c.request.Method; {
	case id == "" && method == http.MethodPost:
		made, err := k.make(s, c)
		if err != nil {
			return invalidRequest(err.Error())
		}
		shelf.items = append(shelf.items, made)
		return plain(made.about)
	case id == "" && method == http.MethodGet:
		return k.list(c, shelf)
	case id == "":
		return errorResponse(http.StatusMethodNotAllowed, claude.ErrInvalidRequest, "Method Not Allowed")
	}
	found := shelf.find(id)
	if found == nil {
		return errorResponse(http.StatusNotFound, claude.ErrNotFound, fmt.Sprintf("%s not found: %s", k.kind, id))
	}
	return k.act(c, shelf, found, action)
}

// act does to an item what is asked.
func (k kept) act(c *call, shelf *resourceStore, it *item, action string) response {
	switch method := c.request.Method; {
	case action == "" && method == http.MethodGet:
		return plain(it.about)
	case action == "" && method == http.MethodDelete:
		shelf.remove(it.id)
		return plain(map[string]any{"id": it.id, "type": k.kind + "_deleted"})
	case (action == "content" || action == "results") && method == http.MethodGet && it.data != nil:
		return response{status: http.StatusOK, body: it.data, kind: it.media}
	case action == "cancel" && method == http.MethodPost:
		it.about["processing_status"] = "canceling"
		return plain(it.about)
	}
	return errorResponse(http.StatusNotFound, claude.ErrNotFound, "Not found")
}

// list answers with the newest first, from a cursor on.
func (k kept) list(c *call, shelf *resourceStore) response {
	all := slices.Clone(shelf.items)
	slices.Reverse(all)
	if after := c.request.URL.Query().Get("after_id"); after != "" {
		i := slices.IndexFunc(all, func(each *item) bool { return each.id == after })
		if i < 0 {
			return errorResponse(http.StatusNotFound, claude.ErrNotFound, "cursor not found: "+after)
		}
		all = all[i+1:]
	}
	data := []map[string]any{}
	page := map[string]any{"data": data, "has_more": false, "first_id": nil, "last_id": nil}
	for _, each := range all {
		data = append(data, each.about)
	}
	if len(all) > 0 {
		page["data"], page["first_id"], page["last_id"] = data, all[0].id, all[len(all)-1].id
	}
	return plain(page)
}

func plain(v any) response {
	body, err := json.Marshal(v)
	if err != nil {
		panic("fakeclaude: an answer of ours is no JSON: " + err.Error())
	}
	return response{status: http.StatusOK, body: body}
}

func (s *Server) makeBatch(c *call) (*item, error) {
	var asked struct {
		Requests []struct {
			CustomID string `json:"custom_id"`
			Params   json.RawMessage
		}
	}
	if err := json.Unmarshal(c.body, &asked); err != nil || len(asked.Requests) == 0 {
		return nil, errors.New("requests: at least one is required")
	}
	it := &item{id: "msgbatch_" + c.ownToken(), media: "application/x-jsonl"}
	for _, r := range asked.Requests {
		if id, ok := s.lacks(c.account, r.Params); ok {
			return nil, errors.New("file not found: " + id)
		}
		it.data = fmt.Appendf(it.data, `{"custom_id":%q,"result":{"type":"succeeded","message":{"id":"msg_%s","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"Done."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":2}}}}`+"\n", r.CustomID, token(c.ids))
	}
	now := c.start.UTC().Format(time.RFC3339)
	counts := map[string]int{"processing": 0, "succeeded": len(asked.Requests), "errored": 0, "canceled": 0, "expired": 0}
	it.about = map[string]any{
		"id": it.id, "type": "message_batch", "processing_status": "ended", "request_counts": counts, "created_at": now, "ended_at": now,
		"expires_at": c.start.Add(24 * time.Hour).UTC().Format(time.RFC3339), "archived_at": nil, "cancel_initiated_at": nil,
		"results_url": "https://api.anthropic.com/v1/messages/batches/" + it.id + "/results",
	}
	return it, nil
}

func (s *Server) makeFile(c *call) (*item, error) {
	name, media, data, err := firstPart(c)
	if err != nil {
		return nil, err
	}
	it := &item{id: "file_" + c.ownToken(), data: data, media: media}
	it.about = map[string]any{
		"id": it.id, "type": "file", "filename": name, "mime_type": media, "size_bytes": len(data),
		"created_at": c.start.UTC().Format(time.RFC3339), "downloadable": true,
	}
	return it, nil
}

func (s *Server) makeSkill(c *call) (*item, error) {
	if _, _, _, err := firstPart(c); err != nil {
		return nil, err
	}
	now := c.start.UTC().Format(time.RFC3339)
	it := &item{id: "skill_" + c.ownToken()}
	it.about = map[string]any{
		"id": it.id, "type": "skill", "display_title": "A skill", "latest_version": "1", "source": "custom", "created_at": now, "updated_at": now,
	}
	return it, nil
}

// ownToken is one that no other account gives out.
func (c *call) ownToken() string {
	return token(rand.New(rand.NewPCG(c.server.seed^stableHash([]byte(c.account.name)), c.seq)))
}

// firstPart reads the first file of a multipart form.
func firstPart(c *call) (name, media string, data []byte, err error) {
	_, params, err := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return "", "", nil, errors.New("file: a multipart form is required")
	}
	form := multipart.NewReader(bytes.NewReader(c.body), params["boundary"])
	for {
		part, err := form.NextPart()
		if err != nil {
			return "", "", nil, errors.New("file: the form holds none")
		}
		if part.FileName() == "" {
			continue
		}
		data, err := io.ReadAll(part)
		return part.FileName(), part.Header.Get("Content-Type"), data, err
	}
}

// lacks finds a file that a request names and the account does not have.
func (s *Server) lacks(a *Account, body []byte) (id string, missing bool) {
	var request struct {
		Messages, System any
	}
	if json.Unmarshal(body, &request) != nil {
		return "", false
	}
	for _, id := range append(filesIn(request.System), filesIn(request.Messages)...) {
		if a.files.find(id) == nil {
			return id, true
		}
	}
	return "", false
}

// filesIn lists the files that content names; the input of a tool names none.
func filesIn(content any) []string {
	var ids []string
	switch content := content.(type) {
	case []any:
		for _, each := range content {
			ids = append(ids, filesIn(each)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(content)) {
			id, ok := content[name].(string)
			switch {
			case name == "file_id" && ok:
				ids = append(ids, id)
			case name != "input":
				ids = append(ids, filesIn(content[name])...)
			}
		}
	}
	return ids
}

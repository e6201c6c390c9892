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

// resourceStore holds the files, batches or skills of one account. No other account can see them.
// The lock of the account guards it.
type resourceStore struct {
	resources []*resource // in the order of their creation
}

// resource is one file, batch or skill.
type resource struct {
	id     string
	object map[string]any // the API's description of it
	data   []byte         // the content of a file, the results of a batch
	media  string         // Content-Type of data
}

func (s *resourceStore) find(id string) *resource {
	i := slices.IndexFunc(s.resources, func(r *resource) bool { return r.id == id })
	if i < 0 {
		return nil
	}
	return s.resources[i]
}

func (s *resourceStore) remove(id string) {
	s.resources = slices.DeleteFunc(s.resources, func(r *resource) bool { return r.id == id })
}

// resourceAPI is an API that stores resources (API reference of each).
type resourceAPI struct {
	root   string // of its paths
	prefix string // of its ids
	kind   string // type of its objects
	store  func(*Account) *resourceStore
	create func(*Server, *call) (*resource, error)
}

// resourceAPIOf returns the API that serves a path.
func resourceAPIOf(path string) (resourceAPI, bool) {
	for _, api := range [...]resourceAPI{
		{
			"/v1/messages/batches", "msgbatch_", "message_batch",
			func(a *Account) *resourceStore { return &a.batches }, (*Server).createBatch,
		},
		{"/v1/files", "file_", "file", func(a *Account) *resourceStore { return &a.files }, (*Server).createFile},
		{"/v1/skills", "skill_", "skill", func(a *Account) *resourceStore { return &a.skills }, (*Server).createSkill},
	} {
		if path == api.root || strings.HasPrefix(path, api.root+"/") {
			return api, true
		}
	}
	return resourceAPI{}, false
}

// respondResource serves a request to one of these APIs.
func (s *Server) respondResource(c *call, api resourceAPI) response {
	id, action, _ := strings.Cut(strings.Trim(strings.TrimPrefix(c.request.URL.Path, api.root), "/"), "/")
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	store := api.store(c.account)
	switch method := c.request.Method; {
	case id == "" && method == http.MethodPost:
		created, err := api.create(s, c)
		if err != nil {
			return invalidRequest(err.Error())
		}
		store.resources = append(store.resources, created)
		return jsonResponse(created.object)
	case id == "" && method == http.MethodGet:
		return listResources(c, store)
	case id == "":
		return errorResponse(http.StatusMethodNotAllowed, claude.ErrInvalidRequest, "Method Not Allowed")
	}
	found := store.find(id)
	if found == nil {
		return errorResponse(http.StatusNotFound, claude.ErrNotFound, fmt.Sprintf("%s not found: %s", api.kind, id))
	}
	return api.act(c, store, found, action)
}

// act applies the requested action to a resource.
func (api resourceAPI) act(c *call, store *resourceStore, r *resource, action string) response {
	switch method := c.request.Method; {
	case action == "" && method == http.MethodGet:
		return jsonResponse(r.object)
	case action == "" && method == http.MethodDelete:
		store.remove(r.id)
		return jsonResponse(map[string]any{"id": r.id, "type": api.kind + "_deleted"})
	case (action == "content" || action == "results") && method == http.MethodGet && r.data != nil:
		return response{status: http.StatusOK, body: r.data, media: r.media}
	case action == "cancel" && method == http.MethodPost:
		r.object["processing_status"] = "canceling"
		return jsonResponse(r.object)
	}
	return errorResponse(http.StatusNotFound, claude.ErrNotFound, "Not found")
}

// listResources lists the resources after the cursor, the newest first.
func listResources(c *call, store *resourceStore) response {
	all := slices.Clone(store.resources)
	slices.Reverse(all)
	if after := c.request.URL.Query().Get("after_id"); after != "" {
		i := slices.IndexFunc(all, func(r *resource) bool { return r.id == after })
		if i < 0 {
			return errorResponse(http.StatusNotFound, claude.ErrNotFound, "cursor not found: "+after)
		}
		all = all[i+1:]
	}
	data := []map[string]any{}
	page := map[string]any{"data": data, "has_more": false, "first_id": nil, "last_id": nil}
	for _, r := range all {
		data = append(data, r.object)
	}
	if len(all) > 0 {
		page["data"], page["first_id"], page["last_id"] = data, all[0].id, all[len(all)-1].id
	}
	return jsonResponse(page)
}

func jsonResponse(v any) response { return response{status: http.StatusOK, body: mustMarshal(v)} }

func (s *Server) createBatch(c *call) (*resource, error) {
	var batch struct {
		Requests []struct {
			CustomID string `json:"custom_id"`
			Params   json.RawMessage
		}
	}
	if err := json.Unmarshal(c.body, &batch); err != nil || len(batch.Requests) == 0 {
		return nil, errors.New("requests: at least one is required")
	}
	b := &resource{id: "msgbatch_" + c.accountToken(), media: "application/x-jsonl"}
	const result = `{"custom_id":%q,"result":{"type":"succeeded","message":{"id":"msg_%s","type":"message","role":"assistant",` +
		`"model":"claude-sonnet-4-5","content":[{"type":"text","text":"Done."}],"stop_reason":"end_turn","stop_sequence":null,` +
		`"usage":{"input_tokens":10,"output_tokens":2}}}}` + "\n"
	for _, r := range batch.Requests {
		if id, ok := c.account.missingFileLocked(r.Params); ok {
			return nil, errors.New("file not found: " + id)
		}
		b.data = fmt.Appendf(b.data, result, r.CustomID, token(c.ids))
	}
	now := c.start.UTC().Format(time.RFC3339)
	counts := map[string]int{"processing": 0, "succeeded": len(batch.Requests), "errored": 0, "canceled": 0, "expired": 0}
	b.object = map[string]any{
		"id": b.id, "type": "message_batch", "processing_status": "ended", "request_counts": counts,
		"created_at": now, "ended_at": now, "expires_at": c.start.Add(24 * time.Hour).UTC().Format(time.RFC3339),
		"archived_at": nil, "cancel_initiated_at": nil,
		"results_url": "https://api.anthropic.com/v1/messages/batches/" + b.id + "/results",
	}
	return b, nil
}

func (s *Server) createFile(c *call) (*resource, error) {
	name, media, data, err := firstPart(c)
	if err != nil {
		return nil, err
	}
	f := &resource{id: "file_" + c.accountToken(), data: data, media: media}
	f.object = map[string]any{
		"id": f.id, "type": "file", "filename": name, "mime_type": media, "size_bytes": len(data),
		"created_at": c.start.UTC().Format(time.RFC3339), "downloadable": true,
	}
	return f, nil
}

func (s *Server) createSkill(c *call) (*resource, error) {
	if _, _, _, err := firstPart(c); err != nil {
		return nil, err
	}
	now := c.start.UTC().Format(time.RFC3339)
	r := &resource{id: "skill_" + c.accountToken()}
	r.object = map[string]any{
		"id": r.id, "type": "skill", "display_title": "A skill", "latest_version": "1", "source": "custom",
		"created_at": now, "updated_at": now,
	}
	return r, nil
}

// accountToken returns the random part of an id. No other account creates the same one.
func (c *call) accountToken() string {
	return token(rand.New(rand.NewPCG(c.server.seed^stableHash([]byte(c.account.name)), c.seq)))
}

// firstPart returns the first file of a multipart form.
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

// missingFileLocked returns the id of a file that a request names and that the account does not
// have.
func (a *Account) missingFileLocked(body []byte) (id string, missing bool) {
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

// filesIn lists the ids of files in content. The input of a tool names no files.
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

package fakeclaude

import (
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestResources checks that an account sees only its own resources.
func TestResources(t *testing.T) {
	s := New(Options{Name: "a", Keys: []string{"key-a"}, Accounts: map[string]*Account{"key-b": NewAccount("b", Limits{})}})
	do := func(key, method, path, contentType, body string) (int, string) {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("X-Api-Key", key)
		r.Header.Set("Anthropic-Version", "2023-06-01")
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	var form strings.Builder
	m := multipart.NewWriter(&form)
	part, err := m.CreateFormFile("file", "notes.txt")
	if err == nil {
		_, err = io.WriteString(part, "some notes")
	}
	if err != nil || m.Close() != nil {
		t.Fatal(err)
	}
	made := func(path, contentType, body string) string {
		t.Helper()
		status, answer := do("key-a", "POST", path, contentType, body)
		var about struct{ ID string }
		if json.Unmarshal([]byte(answer), &about) != nil || status != http.StatusOK || about.ID == "" {
			t.Fatalf("POST %s: %d %s", path, status, answer)
		}
		return about.ID
	}
	file := made("/v1/files", m.FormDataContentType(), form.String())
	skill := made("/v1/skills", m.FormDataContentType(), form.String())
	batch := made("/v1/messages/batches", mediaJSON, `{"requests":[{"custom_id":"one","params":{}}]}`)
	f := func(key, method, path string, status int, want string) {
		t.Helper()
		if got, body := do(key, method, path, mediaJSON, ""); got != status || !strings.Contains(body, want) {
			t.Errorf("%s %s by %s: %d %s, want %d %q", method, path, key, got, body, status, want)
		}
	}
	f("key-a", "GET", "/v1/files/"+file, 200, "notes.txt")
	f("key-a", "GET", "/v1/files/"+file+"/content", 200, "some notes")
	f("key-a", "GET", "/v1/files?limit=5", 200, file)
	f("key-a", "GET", "/v1/skills/"+skill, 200, "custom")
	f("key-a", "GET", "/v1/messages/batches/"+batch+"/results", 200, `"custom_id":"one"`)
	f("key-a", "POST", "/v1/messages/batches/"+batch+"/cancel", 200, "canceling")
	for _, path := range []string{"/v1/files/" + file, "/v1/files/" + file + "/content", "/v1/skills/" + skill, "/v1/messages/batches/" + batch + "/results"} {
		f("key-b", "GET", path, 404, "not_found_error")
	}
	f("key-b", "GET", "/v1/files", 200, `"data":[]`)
	f("unknown-key", "GET", "/v1/files", 401, "authentication_error")
	f("key-a", "PUT", "/v1/files", 405, "Method Not Allowed")
	f("key-a", "DELETE", "/v1/files/"+file, 200, "deleted")
	f("key-a", "GET", "/v1/files/"+file, 404, "not_found_error")
	if status, body := do("key-a", "POST", "/v1/messages/batches", mediaJSON, `{"requests":[{"custom_id":"x","params":{"messages":[{"content":[{"source":{"type":"file","file_id":"`+file+`"}}]}]}}]}`); status != 400 || !strings.Contains(body, file) {
		t.Errorf("a batch that names a deleted file: %d %s", status, body)
	}
}

package claude

import (
	"net/http"
	"strings"
	"testing"
)

func TestPathClass(t *testing.T) {
	for _, each := range []struct{ method, path, want string }{
		{"POST", "/v1/messages", PathMessages},
		{"GET", "/v1/messages", "messages"},
		{"POST", "/v1/messages/count_tokens", PathCountTokens},
		{"GET", "/v1/messages/count_tokens", "messages/count_tokens"},
		{"POST", "/v1/messages/cache_touch", "messages/cache_touch"},
		{"POST", "/v1/messages/msg_01AbC/resume", "messages/other"},
		{"POST", "/v1/messages/batches", PathBatches},
		{"GET", "/v1/messages/batches/msgbatch_1/results", PathBatches},
		{"GET", "/v1/models", PathModels},
		{"HEAD", "/v1/models", PathModels},
		{"GET", "/v1/models/claude-opus-5", "model"},
		{"POST", "/v1/files", "files"},
		{"GET", "/v1/skills/skill_1", "skills"},
		{"GET", "/v1/mcp_servers", "mcp_servers"},
		{"GET", "/v1/", "other"},
		{"GET", "/v1/" + strings.Repeat("a", 200), "other"},
		{"GET", "/v1/x\x00y/z", "other"},
	} {
		if got := PathClass(each.method, each.path); got != each.want {
			t.Errorf("%s %s: %q, want %q", each.method, each.path, got, each.want)
		}
	}
}

func FuzzPathClass(f *testing.F) {
	f.Add("POST", "/v1/messages")
	f.Add("GET", "/v1/messages/x/y")
	f.Fuzz(func(t *testing.T, method, path string) {
		class := PathClass(method, path)
		creates := method == http.MethodPost && path == "/v1/messages"
		if (class == PathMessages) != creates || len(class) > maxPathClass+len("messages/") {
			t.Errorf("%s %q: %q", method, path, class)
		}
	})
}

func TestIsModelList(t *testing.T) {
	for body, want := range map[string]bool{
		`{"data":[{"id":"claude-opus-5","type":"model"}],"has_more":false}`: true,
		`{"object":"list","data":[]}`:                                       true,
		`{"data":{}}`:                                                       false,
		`{"data":[`:                                                         false,
		`{"error":{"type":"api_error"}}`:                                    false,
		`<html>`:                                                            false,
		``:                                                                  false,
	} {
		if got := IsModelList([]byte(body)); got != want {
			t.Errorf("%s: %v", body, got)
		}
	}
}

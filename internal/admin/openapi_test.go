package admin

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"claude-code-lb/internal/config"
)

// operation is what the description says of a route.
type operation struct {
	answers map[string]any
}

// described reads openapi.yaml: its operations by method and path, and a compiler of its schemas.
func described(t *testing.T) (map[string]operation, func(ref string) *jsonschema.Schema) {
	t.Helper()
	doc, err := libopenapi.NewDocument(description)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := doc.BuildV3Model(); err != nil {
		t.Fatal(err)
	}
	root := *doc.GetSpecInfo().GetSpecJSON()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(*doc.GetSpecInfo().GetSpecJSONBytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiler.AddResource("openapi.json", plain); err != nil {
		t.Fatal(err)
	}
	all := map[string]operation{}
	for path, item := range root["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			all[strings.ToUpper(method)+" "+path] = operation{op.(map[string]any)["responses"].(map[string]any)}
		}
	}
	components := root["components"].(map[string]any)["responses"].(map[string]any)
	for _, op := range all {
		for status, answer := range op.answers {
			if ref, ok := answer.(map[string]any)["$ref"].(string); ok {
				op.answers[status] = components[strings.TrimPrefix(ref, "#/components/responses/")]
			}
		}
	}
	return all, func(ref string) *jsonschema.Schema {
		t.Helper()
		schema, err := compiler.Compile("openapi.json" + ref)
		if err != nil {
			t.Fatal(err)
		}
		return schema
	}
}

func TestEveryRouteIsDescribed(t *testing.T) {
	operations, _ := described(t)
	var routes []string
	for _, r := range newRoom(t, "").handler.routes() {
		routes = append(routes, r.method+" "+strings.TrimSuffix(r.pattern, "{$}"))
	}
	slices.Sort(routes)
	if want := slices.Sorted(maps.Keys(operations)); !slices.Equal(routes, want) {
		t.Errorf("routes\n%s\nopenapi.yaml\n%s", strings.Join(routes, "\n"), strings.Join(want, "\n"))
	}
}

// TestAnswersAreAsDescribed asks for everything, in every way that has an answer of its own.
func TestAnswersAreAsDescribed(t *testing.T) {
	operations, compile := described(t)
	seen := map[string]bool{}
	r := newRoom(t, "")
	check := func(operation, path, body string, want int, header ...string) {
		t.Helper()
		method, _, _ := strings.Cut(operation, " ")
		w := r.ask(method, path, body, header...)
		answer, ok := operations[operation].answers[strconv.Itoa(want)].(map[string]any)
		if w.Code != want || !ok {
			t.Errorf("%s %s: %d, want %d, described: %t", method, path, w.Code, want, ok)
			return
		}
		seen[operation+" "+strconv.Itoa(want)] = true
		content := answer["content"].(map[string]any)
		kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
		media, ok := content[kind].(map[string]any)
		if !ok {
			t.Errorf("%s %s: %s is not described", method, path, kind)
			return
		}
		if kind != "application/json" {
			return
		}
		value, err := jsonschema.UnmarshalJSON(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := compile(media["schema"].(map[string]any)["$ref"].(string)).Validate(value); err != nil {
			t.Errorf("%s %s: %v", method, path, err)
		}
	}
	check("GET /metrics", "/metrics", "", 200)
	check("GET /admin/api/openapi.yaml", "/admin/api/openapi.yaml", "", 200)
	check("GET /admin/api/status", "/admin/api/status", "", 200)
	check("GET /admin/api/servers", "/admin/api/servers", "", 200)
	for _, action := range []string{"drain", "undrain", "reset"} {
		operation := "POST /admin/api/servers/{name}/" + action
		check(operation, "/admin/api/servers/b%2Fc%20d/"+action, "", 200)
		check(operation, "/admin/api/servers/x/"+action, "", 404)
	}
	check("GET /admin/api/keys", "/admin/api/keys", "", 200)
	check("GET /admin/api/requests", "/admin/api/requests", "", 200)
	check("GET /admin/api/decisions", "/admin/api/decisions", "", 200)
	for _, name := range []string{"status", "servers", "keys", "requests", "decisions"} {
		check("GET /admin/api/"+name, "/admin/api/"+name+"?sort=name", "", 400)
	}
	check("GET /admin/api/decisions", "/admin/api/decisions?server=a&outcome=answered&limit=1", "", 200)
	check("GET /admin/api/decisions", "/admin/api/decisions?limit=0", "", 400)
	check("POST /admin/api/sessions/{id}/flush", "/admin/api/sessions/s-1/flush", "", 200)
	check("POST /admin/api/sessions/{id}/flush", "/admin/api/sessions/"+strings.Repeat("s", 129)+"/flush", "", 400)
	check("POST /admin/api/reload", "/admin/api/reload", "", 200)
	r.reload = func() (uint64, config.Problems, error) {
		return 1, config.Problems{{Line: 1, Col: 1, Msg: "is wrong"}}, errors.New("the configuration has errors")
	}
	check("POST /admin/api/reload", "/admin/api/reload", "", 422)
	check("GET /debug/pprof/", "/debug/pprof/", "", 404)
	check("GET /debug/pprof/{profile}", "/debug/pprof/heap", "", 404)
	check("POST /admin/api/pprof", "/admin/api/pprof", "nonsense", 400)
	check("POST /admin/api/pprof", "/admin/api/pprof", `{"minutes": 1}`, 200)
	check("GET /debug/pprof/", "/debug/pprof/", "", 200)
	check("GET /debug/pprof/{profile}", "/debug/pprof/heap", "", 200)
	check("GET /debug/pprof/{profile}", "/debug/pprof/goroutine?debug=1", "", 200)
	for operation := range operations {
		path := strings.NewReplacer("{name}", "a", "{id}", "s", "{profile}", "heap").Replace(strings.Fields(operation)[1])
		r.handler.SetKey(config.NewSecret("k"))
		check(operation, path, "", http.StatusUnauthorized)
		check(operation, path, "", http.StatusUnauthorized)
		r.handler.SetKey(config.Secret{})
		if strings.HasPrefix(operation, http.MethodPost) {
			check(operation, path, "", http.StatusForbidden, "Origin", "http://evil.example")
		}
		for status := range operations[operation].answers {
			if !seen[operation+" "+status] && status != "403" {
				t.Errorf("%s: status %s is described and was not seen", operation, status)
			}
		}
	}
}

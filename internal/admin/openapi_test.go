package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

// apiDocument is openapi.yaml: the parts of OpenAPI 3.1 that it uses. Any other field is an error.
type apiDocument struct {
	OpenAPI    string                                       `json:"openapi"`
	Info       struct{ Title, Version, Description string } `json:"info"`
	Servers    []struct{ URL string }                       `json:"servers"`
	Security   []map[string][]string                        `json:"security"`
	Paths      map[string]map[string]apiOperation           `json:"paths"`
	Components struct {
		SecuritySchemes map[string]struct{ Type, Scheme, In, Name string } `json:"securitySchemes"`
		Responses       map[string]apiResponse                             `json:"responses"`
		Schemas         map[string]json.RawMessage                         `json:"schemas"`
	} `json:"components"`
}

type apiOperation struct {
	OperationID string                 `json:"operationId"`
	Summary     string                 `json:"summary"`
	Description string                 `json:"description"`
	Parameters  []apiParameter         `json:"parameters"`
	RequestBody *apiBody               `json:"requestBody"`
	Responses   map[string]apiResponse `json:"responses"`
}

type apiParameter struct {
	Name, In, Description string
	Required              bool
	Schema                json.RawMessage
}

type apiBody struct {
	Required bool                `json:"required"`
	Content  map[string]apiMedia `json:"content"`
}

type apiResponse struct {
	Ref         string              `json:"$ref"`
	Description string              `json:"description"`
	Content     map[string]apiMedia `json:"content"`
}

type apiMedia struct {
	Schema struct {
		Ref  string `json:"$ref"`
		Type string `json:"type"`
	} `json:"schema"`
}

// readDescription reads openapi.yaml: its operations by method and path, and a compiler of its
// schemas.
func readDescription(t *testing.T) (map[string]apiOperation, func(ref string) *jsonschema.Schema) {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal(description, &tree); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var doc apiDocument
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", plain); err != nil {
		t.Fatal(err)
	}
	compile := func(ref string) *jsonschema.Schema {
		t.Helper()
		schema, err := compiler.Compile("openapi.json" + ref)
		if err != nil {
			t.Fatal(err)
		}
		return schema
	}
	all := map[string]apiOperation{}
	for path, item := range doc.Paths {
		for method, op := range item {
			for status, response := range op.Responses {
				if response.Ref == "" {
					continue
				}
				shared, ok := doc.Components.Responses[strings.TrimPrefix(response.Ref, "#/components/responses/")]
				if !ok {
					t.Fatalf("%s %s: there is no %s", method, path, response.Ref)
				}
				op.Responses[status] = shared
			}
			all[strings.ToUpper(method)+" "+path] = op
		}
	}
	doc.check(t, all, compile)
	return all, compile
}

// check checks what the structure does not ensure: every operation and parameter is complete, every
// path parameter and security scheme is declared, and every schema compiles.
func (d apiDocument) check(t *testing.T, operations map[string]apiOperation, compile func(ref string) *jsonschema.Schema) {
	t.Helper()
	if !strings.HasPrefix(d.OpenAPI, "3.1.") || d.Info.Title == "" || d.Info.Version == "" {
		t.Errorf("version or info is missing: %q, %+v", d.OpenAPI, d.Info)
	}
	for _, requirement := range d.Security {
		for name := range requirement {
			if _, ok := d.Components.SecuritySchemes[name]; !ok {
				t.Errorf("there is no security scheme %s", name)
			}
		}
	}
	for name := range d.Components.Schemas {
		compile("#/components/schemas/" + name)
	}
	ids := map[string]string{}
	for route, op := range operations {
		if other := ids[op.OperationID]; op.OperationID == "" || op.Summary == "" || other != "" {
			t.Errorf("%s: id %q (also of %q), summary %q", route, op.OperationID, other, op.Summary)
		}
		ids[op.OperationID] = route
		method, path, _ := strings.Cut(route, " ")
		undeclared := path
		for i, p := range op.Parameters {
			pointer := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(path)
			compile(fmt.Sprintf("#/paths/%s/%s/parameters/%d/schema", pointer, strings.ToLower(method), i))
			inPath := strings.Contains(path, "{"+p.Name+"}")
			if inPath != (p.In == "path") || inPath && !p.Required || !inPath && p.In != "query" {
				t.Errorf("%s: parameter %s in %s, required: %t", route, p.Name, p.In, p.Required)
			}
			undeclared = strings.ReplaceAll(undeclared, "{"+p.Name+"}", "")
		}
		if strings.Contains(undeclared, "{") {
			t.Errorf("%s: a parameter of the path is not declared", route)
		}
	}
}

func TestRoutesAreDescribed(t *testing.T) {
	operations, _ := readDescription(t)
	var routes []string
	for _, r := range newFixture(t, "").handler.routes() {
		routes = append(routes, r.method+" "+strings.TrimSuffix(r.pattern, "{$}"))
	}
	slices.Sort(routes)
	if want := slices.Sorted(maps.Keys(operations)); !slices.Equal(routes, want) {
		t.Errorf("routes\n%s\nopenapi.yaml\n%s", strings.Join(routes, "\n"), strings.Join(want, "\n"))
	}
}

// responseChecker compares responses with openapi.yaml.
type responseChecker struct {
	*fixture
	operations map[string]apiOperation
	compile    func(ref string) *jsonschema.Schema
	seen       map[string]bool // by operation and status
}

// check sends a request and checks that the response has the status and matches its description.
func (c *responseChecker) check(operation, path, body string, want int, header ...string) {
	c.t.Helper()
	method, _, _ := strings.Cut(operation, " ")
	w := c.request(method, path, body, header...)
	response, ok := c.operations[operation].Responses[strconv.Itoa(want)]
	if w.Code != want || !ok {
		c.t.Errorf("%s %s: %d, want %d, described: %t", method, path, w.Code, want, ok)
		return
	}
	c.seen[operation+" "+strconv.Itoa(want)] = true
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	media, ok := response.Content[kind]
	if !ok {
		c.t.Errorf("%s %s: %s is not described", method, path, kind)
		return
	}
	if kind != "application/json" {
		return
	}
	value, err := jsonschema.UnmarshalJSON(w.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.compile(media.Schema.Ref).Validate(value); err != nil {
		c.t.Errorf("%s %s: %v", method, path, err)
	}
}

// checkRefusals requests every operation without the key and from a page of another origin, and
// checks that all described responses were seen.
func (c *responseChecker) checkRefusals() {
	c.t.Helper()
	for operation := range c.operations {
		path := strings.NewReplacer("{name}", "a", "{id}", "s", "{profile}", "heap").Replace(strings.Fields(operation)[1])
		c.handler.SetKey(config.NewSecret("k"))
		c.check(operation, path, "", http.StatusUnauthorized)
		c.check(operation, path, "", http.StatusUnauthorized)
		c.handler.SetKey(config.Secret{})
		if strings.HasPrefix(operation, http.MethodPost) {
			c.check(operation, path, "", http.StatusForbidden, "Origin", "http://evil.example")
		}
		for status := range c.operations[operation].Responses {
			if !c.seen[operation+" "+status] && status != "403" {
				c.t.Errorf("%s: status %s is described but never sent", operation, status)
			}
		}
	}
}

// TestResponsesMatchDescription requests every response that openapi.yaml describes.
func TestResponsesMatchDescription(t *testing.T) {
	operations, compile := readDescription(t)
	r := newFixture(t, "")
	c := responseChecker{r, operations, compile, map[string]bool{}}
	check := c.check
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
	check("GET /admin/api/report", "/admin/api/report?by=day,key,upstream", "", 200)
	check("GET /admin/api/report", "/admin/api/report?by=nonsense", "", 400)
	check("GET /admin/api/report", "/admin/api/report", "", 200, "Accept", "text/csv")
	check("GET /admin/api/log", "/admin/api/log?limit=1", "", 200)
	check("GET /admin/api/log", "/admin/api/log?limit=0", "", 400)
	check("GET /admin/api/log", "/admin/api/log", "", 200, "Accept", "application/x-ndjson")
	check("GET /admin/api/log/{id}", "/admin/api/log/req_lb_7", "", 200)
	check("GET /admin/api/log/{id}", "/admin/api/log/req_lb_3", "", 200)
	check("GET /admin/api/log/{id}", "/admin/api/log/req_lb_7?x=1", "", 400)
	check("GET /admin/api/log/{id}", "/admin/api/log/req_lb_none", "", 404)
	ledger := r.handler.Ledger
	for _, path := range []string{"/admin/api/report", "/admin/api/log", "/admin/api/log/{id}"} {
		r.handler.Ledger = func() *store.Store { return nil }
		check("GET "+path, strings.ReplaceAll(path, "{id}", "7"), "", 503)
		r.handler.Ledger = nil
		check("GET "+path, strings.ReplaceAll(path, "{id}", "7"), "", 404)
	}
	r.handler.Ledger = ledger
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
	c.checkRefusals()
}

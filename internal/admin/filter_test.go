package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

func TestDecisionFilter(t *testing.T) {
	r := newFixture(t, "")
	f := func(query, want string) {
		t.Helper()
		var ids []string
		for _, d := range r.expect(http.StatusOK, "GET", "/admin/api/decisions?"+query, "")["decisions"].([]any) {
			ids = append(ids, d.(map[string]any)["id"].(string))
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	f("", "req_lb_2 req_lb_3")
	f("client=key-1", "req_lb_2 req_lb_3")
	f("client=key-2", "")
	f("session=s", "req_lb_2")
	f("server=a", "req_lb_2")
	f("server=b", "")
	f("status=200", "req_lb_2")
	f("status=200&status=0", "req_lb_2 req_lb_3")
	f("outcome=client_gone", "req_lb_3")
	f("outcome=answered&outcome=client_gone&limit=1", "req_lb_2")
	f("id=req_lb_3&path=/v1/models", "req_lb_3")
	f("routed=warm&client=key-1", "req_lb_2")
	f("limit=5", "req_lb_2 req_lb_3")

	rejects := func(path, want string) {
		t.Helper()
		w := r.request("GET", path, "")
		var body struct {
			Error struct{ Type, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusBadRequest || body.Error.Type != "invalid_request" || !strings.Contains(body.Error.Message, want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	rejects("/admin/api/decisions?clinet=ann", "Known: client, id, limit, model")
	rejects("/admin/api/decisions?limit=many", "limit")
	rejects("/admin/api/decisions?limit=1&limit=2", "limit")
	rejects("/admin/api/decisions?status=5xx", "529")
	rejects("/admin/api/decisions?outcome=broken", "answered, failed")
	rejects("/admin/api/decisions?routed=", "warm, placed")
	rejects("/admin/api/servers?name=a", "Known: none")
}

func TestRecentStats(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := newRecentStats()
	p.add("a", &upstream.Report{LastError: upstream.Incident{At: at, Scope: verdict.ScopeEndpoint, Reason: "status 502"}, Attempts: 3, Errors: 1})
	p.add("b", &upstream.Report{LastSuccess: at, Attempts: 1})
	p.add("c", &upstream.Report{LastError: upstream.Incident{At: at.Add(-time.Hour), Scope: verdict.ScopeModel, Reason: "older"}})
	got, err := json.Marshal(p)
	want := `{"last_error":{"time":"2026-05-01T12:00:00Z","server":"a","scope":"endpoint","reason":"status 502"},"last_good":"2026-05-01T12:00:00Z","recent":{"seconds":300,"attempts":4,"errors":1,"error_rate":0.25}}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

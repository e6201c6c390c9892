package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const clientKey = "sk-client-key-0123456789"

// guarded returns a configuration with client keys.
func guarded(servers ...object) object {
	return object{"auth": true, "auth_keys": []string{"sk-another-client-key", clientKey}, "servers": servers}
}

func TestClientKeys(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := start(t, guarded(f.entry()))
	for _, test := range []struct {
		name   string
		header []string
		admit  bool
	}{
		{"bearer", []string{"Authorization", "Bearer " + clientKey}, true},
		{"bearer in small letters", []string{"Authorization", "bearer " + clientKey}, true},
		{"x-api-key", []string{"X-Api-Key", clientKey}, true},
		{"the other key", []string{"X-Api-Key", "sk-another-client-key"}, true},
		{"both headers", []string{"X-Api-Key", clientKey, "Authorization", "Bearer " + clientKey}, true},
		{"one right of two", []string{"X-Api-Key", "sk-wrong", "Authorization", "Bearer " + clientKey}, true},
		{"none", nil, false},
		{"empty", []string{"X-Api-Key", "", "Authorization", "Bearer "}, false},
		{"wrong", []string{"X-Api-Key", "sk-wrong"}, false},
		{"wrong bearer", []string{"Authorization", "Bearer sk-wrong"}, false},
		{"beginning of a key", []string{"X-Api-Key", clientKey[:10]}, false},
		{"basic", []string{"Authorization", "Basic " + clientKey}, false},
		{"the upstream's token", []string{"X-Api-Key", f.token}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := f.count()
			a := b.ask(false, test.header...)
			if test.admit {
				if problem := a.flaw(false); problem != "" {
					t.Error(problem)
				}
				return
			}
			a.failure(t, http.StatusUnauthorized, claude.ErrAuthentication)
			if f.count() != before {
				t.Error("a request without a client key reached the upstream")
			}
			if strings.Contains(string(a.body), clientKey) || strings.Contains(string(a.body), "sk-wrong") {
				t.Errorf("the error quotes a key: %s", a.body)
			}
		})
	}
	for _, seen := range f.Requests() {
		if where := carries(seen, clientKey) + carries(seen, "sk-another"); where != "" {
			t.Errorf("a client key reached the upstream in %s", where)
		}
	}
}

// TestUpstreamCredential checks what an upstream receives from a client that sends both headers.
func TestUpstreamCredential(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ token, header, wantKey, wantAuthorization string }{
		{"sk-ant-api03-abc", "", "sk-ant-api03-abc", ""},
		{"sk-ant-oat01-abc", "", "", "Bearer sk-ant-oat01-abc"},
		{"relay-vendor-key", "", "", "Bearer relay-vendor-key"},
		{"relay-vendor-key", "auto", "", "Bearer relay-vendor-key"},
		{"relay-vendor-key", "x-api-key", "relay-vendor-key", ""},
		{"sk-ant-api03-abc", "authorization", "", "Bearer sk-ant-api03-abc"},
	} {
		for _, auth := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s in %q, auth %t", test.token, test.header, auth), func(t *testing.T) {
				t.Parallel()
				f := newFakeWithKey(t, "a", test.token)
				entry := f.entry()
				if test.header != "" {
					entry = entry.with("auth_header", test.header)
				}
				b := start(t, guarded(entry).with("auth", auth))
				if problem := b.ask(false, "X-Api-Key", clientKey, "Authorization", "Bearer "+clientKey).flaw(false); problem != "" {
					t.Error(problem)
				}
				seen := f.only(t)
				if key, authorization := seen.Header.Get("X-Api-Key"), seen.Header.Get("Authorization"); key != test.wantKey || authorization != test.wantAuthorization {
					t.Errorf("x-api-key %q, authorization %q, want %q, %q", key, authorization, test.wantKey, test.wantAuthorization)
				}
				if where := carries(seen, clientKey); where != "" {
					t.Errorf("the client's key reached the upstream in %s", where)
				}
			})
		}
	}
}

// TestNoToken checks that a server without a token gets the client's credential, but never a client
// key.
func TestNoToken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		auth    bool
		header  []string
		pass    bool
		wantKey string
		wantAut string
	}{
		{"x-api-key", false, []string{"X-Api-Key", clientKey}, true, clientKey, ""},
		{"bearer", false, []string{"Authorization", "Bearer " + clientKey}, true, "", "Bearer " + clientKey},
		{"auth on", true, []string{"X-Api-Key", clientKey, "Authorization", "Bearer " + clientKey}, false, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, "a", anyCredential)
			b := start(t, guarded(object{"url": f.url}).with("auth", test.auth))
			if problem := b.ask(true, test.header...).flaw(true); (problem == "") != test.pass {
				t.Errorf("passes %t, want %t: %s", problem == "", test.pass, problem)
			}
			seen := f.only(t)
			if key, authorization := seen.Header.Get("X-Api-Key"), seen.Header.Get("Authorization"); key != test.wantKey || authorization != test.wantAut {
				t.Errorf("x-api-key %q, authorization %q, want %q, %q", key, authorization, test.wantKey, test.wantAut)
			}
		})
	}
}

// TestCredentialAfterFailover checks that the second server gets its token, not the first one's.
func TestCredentialAfterFailover(t *testing.T) {
	t.Parallel()
	first := newFakeWithKey(t, "first", "sk-ant-api03-first")
	second := newFakeWithKey(t, "second", "relay-second")
	first.fails(status(529))
	b := start(t, fallback(first.entry(), second.entry()))
	b.mustServe(true, second)
	seen := second.only(t)
	if where := carries(seen, first.token); where != "" {
		t.Errorf("the first server's token reached the second in %s", where)
	}
	if got := seen.Header.Get("Authorization"); got != "Bearer relay-second" {
		t.Errorf("authorization %q", got)
	}
}

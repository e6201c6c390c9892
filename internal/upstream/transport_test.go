package upstream

import (
	"net/http"
	"net/url"
	"testing"

	"claude-code-lb/internal/config"
)

func TestJoin(t *testing.T) {
	f := func(base, request, want string) {
		t.Helper()
		b, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		r, err := url.ParseRequestURI(request)
		if err != nil {
			t.Fatal(err)
		}
		if got := join(b, r).String(); got != want {
			t.Errorf("join(%s, %s) = %s, want %s", base, request, got, want)
		}
	}
	f("https://api.example.com", "/v1/messages?beta=true", "https://api.example.com/v1/messages?beta=true")
	f("https://api.example.com/", "/v1/messages", "https://api.example.com/v1/messages")
	f("https://relay.example.com/claude/", "/v1/models", "https://relay.example.com/claude/v1/models")
	f("https://relay.example.com/a%2Fb", "/v1/models/x%2Fy", "https://relay.example.com/a%2Fb/v1/models/x%2Fy")
	f("http://h:81/p", "/v1/files/a%20b?next=http://x//y&z", "http://h:81/p/v1/files/a%20b?next=http://x//y&z")
	f("http://h", "/v1/a//b?", "http://h/v1/a//b?")
}

func TestSetCredential(t *testing.T) {
	f := func(kind config.AuthHeader, token, header, want string) {
		t.Helper()
		h := http.Header{"Authorization": {"Bearer client"}, "X-Api-Key": {"client"}}
		credentialOf(kind, token).put(h)
		if len(h) != 1 || h.Get(header) != want {
			t.Errorf("credentialOf(%s, %s) = %v", kind, token, h)
		}
	}
	f(config.AuthHeaderAuto, "sk-ant-api03-abc", "X-Api-Key", "sk-ant-api03-abc")
	f(config.AuthHeaderAuto, "sk-ant-oat01-abc", "Authorization", "Bearer sk-ant-oat01-abc")
	f(config.AuthHeaderAuto, "sk-relay", "Authorization", "Bearer sk-relay")
	f(config.AuthHeaderXAPIKey, "sk-relay", "X-Api-Key", "sk-relay")
	f(config.AuthHeaderAuthorization, "sk-ant-api03-abc", "Authorization", "Bearer sk-ant-api03-abc")
}

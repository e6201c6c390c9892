package transport

import (
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/http1"
	"github.com/9bingyin/claude-code-lb/internal/socket"
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
		if got := Join(b, r).String(); got != want {
			t.Errorf("Join(%s, %s) = %s, want %s", base, request, got, want)
		}
	}
	f("https://api.example.com", "/v1/messages?beta=true", "https://api.example.com/v1/messages?beta=true")
	f("https://api.example.com/", "/v1/messages", "https://api.example.com/v1/messages")
	f("https://relay.example.com/claude/", "/v1/models", "https://relay.example.com/claude/v1/models")
	f("https://relay.example.com/a%2Fb", "/v1/models/x%2Fy", "https://relay.example.com/a%2Fb/v1/models/x%2Fy")
	f("http://h:81/p", "/v1/files/a%20b?next=http://x//y&z", "http://h:81/p/v1/files/a%20b?next=http://x//y&z")
	f("http://h", "/v1/a//b?", "http://h/v1/a//b?")
}

func TestPutCredential(t *testing.T) {
	f := func(kind config.AuthHeader, token, header, want string) {
		t.Helper()
		h := http.Header{"Authorization": {"Bearer client"}, "X-Api-Key": {"client"}}
		NewCredential(kind, token).Put(h)
		if len(h) != 1 || h.Get(header) != want {
			t.Errorf("NewCredential(%s, %s) = %v", kind, token, h)
		}
	}
	f(config.AuthHeaderAuto, "sk-ant-api03-abc", "X-Api-Key", "sk-ant-api03-abc")
	f(config.AuthHeaderAuto, "sk-ant-oat01-abc", "Authorization", "Bearer sk-ant-oat01-abc")
	f(config.AuthHeaderAuto, "sk-relay", "Authorization", "Bearer sk-relay")
	f(config.AuthHeaderXAPIKey, "sk-relay", "X-Api-Key", "sk-relay")
	f(config.AuthHeaderAuthorization, "sk-ant-api03-abc", "Authorization", "Bearer sk-ant-api03-abc")
}

// TestEngineOfTransports checks that with net/http as the engine, no connection to a server uses
// package http1 or socket.
func TestEngineOfTransports(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := func(scheme string, engine config.HTTPEngine, wantOwn, wantSocket bool) {
		t.Helper()
		var inner *http.Transport
		switch made := New(t.Context(), &url.URL{Scheme: scheme, Host: l.Addr().String()}, time.Minute, engine).(type) {
		case *http1.Transport:
			if !wantOwn {
				t.Errorf("%s, engine %s: package http1 is used", scheme, engine)
			}
			return
		case netTransport:
			inner = made.Transport
		case *secureTransport:
			inner = made.net.Transport
		}
		if wantOwn {
			t.Errorf("%s, engine %s: net/http is used", scheme, engine)
		}
		c, err := inner.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, is := c.(*socket.Conn); is != wantSocket {
			t.Errorf("%s, engine %s: connection %T", scheme, engine, c)
		}
	}
	f("http", config.HTTPEngineFast, true, true)
	f("http", config.HTTPEngineGo, false, false)
	f("https", config.HTTPEngineFast, false, true)
	f("https", config.HTTPEngineGo, false, false)
}

package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/service"
)

// TestCheckOnline tests one server of every kind.
func TestCheckOnline(t *testing.T) {
	const token = "sk-relay-4f1c9b7e2d8a"
	respond := func(status int, kind, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+token || r.Method == http.MethodPost && r.URL.Path != countCall {
				t.Errorf("%s %s: %v", r.Method, r.URL, r.Header)
			}
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	const jsonType = "application/json"
	plain := func(h http.HandlerFunc) string {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.Start()
		t.Cleanup(s.Close)
		return s.URL
	}
	secure := httptest.NewUnstartedServer(respond(200, jsonType, `{"data":[]}`))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	counting := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == modelsCall {
			respond(404, jsonType, `{"detail":"Not Found"}`)(w, r)
			return
		}
		respond(200, jsonType, `{"input_tokens":8}`)(w, r)
	}
	cases := []struct {
		url, want string
		failed    bool
	}{
		{plain(respond(200, jsonType, `{"data":[{"id":"claude-sonnet-4-5"}]}`)), "the token is accepted", false},
		{plain(counting), "ok: /v1/messages/count_tokens in ", false},
		{plain(respond(404, "text/plain", "404 page not found")), "knows neither", false},
		{plain(respond(429, jsonType, `{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`)), "limited or overloaded", false},
		{plain(respond(401, jsonType, `{"type":"error","error":{"type":"authentication_error","message":"bad key `+token+`"}}`)), "the token is refused", true},
		{plain(respond(403, jsonType, `{"error":{"message":"no"}}`)), "is not allowed here", true},
		{plain(respond(403, "text/html", "<html>Just a moment", "Cf-Mitigated", "challenge")), "a firewall's page", true},
		{plain(respond(200, "text/html", "<!doctype html>")), "a web page", true},
		{plain(respond(200, jsonType, `{"code":500}`)), "not one of the Messages API", true},
		{plain(respond(301, jsonType, "", "Location", "https://elsewhere.example")), "it redirects", true},
		{plain(respond(502, jsonType, "")), "is failing", true},
		{"https" + strings.TrimPrefix(plain(respond(200, jsonType, `{}`)), "http"), "speaks plain HTTP: write http://", true},
		{"http" + strings.TrimPrefix(secure.URL, "https"), "speaks TLS: write https://", true},
		{secure.URL, "/v1/models in ", false}, // the certificate of httptest is trusted in tests
		{"http://" + closed.Addr().String(), "connection refused", true},
		{"http://no-such-host.invalid", "no-such-host.invalid", true},
	}
	for _, c := range cases {
		file := writeConfig(t, fmt.Sprintf(`{"servers": [{"url": %q, "token": "${TOKEN}"}]}`, c.url))
		status, _, errOut := runCommand(t, "check", "", map[string]string{"TOKEN": token}, "-online", "-c", file)
		if (status == service.ExitError) != c.failed || !strings.Contains(errOut, c.want) || !strings.Contains(errOut, "both are free") {
			t.Errorf("%s: status %d, want %q:\n%s", c.url, status, c.want, errOut)
		}
		if strings.Contains(errOut, token) {
			t.Errorf("%s: the token is shown:\n%s", c.url, errOut)
		}
	}
}

// TestCheckOnlineReportsEveryServer has a healthy server, a failing one, and one without a token.
func TestCheckOnlineReportsEveryServer(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer refuses.Close()
	file := writeConfig(t, fmt.Sprintf(`{"servers": [{"url": %q, "token": "t"}, {"url": %q, "name": "open"}]}`, refuses.URL, refuses.URL))
	status, _, errOut := runCommand(t, "check", "", nil, "-online", "-c", file)
	if status != service.ExitError || !strings.Contains(errOut, "servers[0] 127.0.0.1") || !strings.Contains(errOut, "FAILED") ||
		!strings.Contains(errOut, "servers[1] open: ok: ") || !strings.Contains(errOut, "the credential of each client decides") {
		t.Errorf("%d\n%s", status, errOut)
	}
}

func TestCertificateErrorsAreExplained(t *testing.T) {
	for want, err := range map[string]error{
		"is not for a.example": x509.HostnameError{Certificate: &x509.Certificate{}, Host: "a.example"},
		"has expired":          x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.Expired},
		"does not know":        x509.UnknownAuthorityError{},
		"cannot be verified":   &tls.CertificateVerificationError{Err: io.EOF},
	} {
		if got := explainCertificate(fmt.Errorf("tls: %w", err)); !strings.Contains(got, want) {
			t.Errorf("%v: %q", err, got)
		}
	}
	if got := explainCertificate(io.EOF); got != "" {
		t.Error(got)
	}
}

package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/transport"
)

const (
	onlineTime    = 10 * time.Second // for one server
	onlineAtOnce  = 8                // servers that are tested at the same time
	onlineMaxBody = 1 << 20
)

// The calls that check -online makes. Neither costs anything.
const (
	modelsCall = "/v1/models"
	countCall  = "/v1/messages/count_tokens"
)

// online is the result of testing one server.
type online struct {
	failed bool // the server cannot be used as it is configured
	text   string
}

func fine(format string, args ...any) online { return online{false, fmt.Sprintf(format, args...)} }
func bad(format string, args ...any) online  { return online{true, fmt.Sprintf(format, args...)} }

// checkOnline tests every server with its credential, and reports whether all can be used. It
// prints no token, and nothing of a response except its status and an error message.
func checkOnline(ctx context.Context, out io.Writer, cfg *config.Config) bool {
	fmt.Fprintf(out, "testing %d servers with GET %s, or POST %s if the server does not know that; both are free\n", len(cfg.Servers), modelsCall, countCall)
	results := make([]online, len(cfg.Servers))
	var wg sync.WaitGroup
	slots := make(chan struct{}, onlineAtOnce)
	for i := range cfg.Servers {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] = testServer(ctx, &cfg.Servers[i])
		})
	}
	wg.Wait()
	usable := true
	for i, r := range results {
		word := "ok"
		if r.failed {
			word, usable = "FAILED", false
		}
		fmt.Fprintf(out, "servers[%d] %s: %s: %s\n", i, cfg.Servers[i].Name, word, r.text)
	}
	return usable
}

// testServer makes one or two free calls to a server.
func testServer(ctx context.Context, s *config.Server) online {
	ctx, cancel := context.WithTimeout(ctx, onlineTime)
	defer cancel()
	began := time.Now()
	a := askServer(ctx, s, modelsCall)
	if a.err == nil && (a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotImplemented) {
		a = askServer(ctx, s, countCall)
	}
	if a.err != nil {
		return bad("%s", explainDial(ctx, s, a.err))
	}
	if plainToTLS(s, a.status, a.body) {
		return bad("this port speaks TLS: write https://%s", s.URL.Host)
	}
	return judgeOnline(s, a, time.Since(began))
}

// reply is a server's response, or the error.
type reply struct {
	call   string
	status int
	header http.Header
	body   []byte
	err    error
}

// askServer sends one call to a server, with its credential.
func askServer(ctx context.Context, s *config.Server, call string) reply {
	method, body := http.MethodGet, io.Reader(nil)
	if call == countCall {
		method, body = http.MethodPost, strings.NewReader(`{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"hi"}]}`)
	}
	target := *s.URL
	target.Path, target.RawPath = strings.TrimSuffix(s.URL.Path, "/")+call, ""
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return reply{call: call, err: err}
	}
	req.Header.Set("Anthropic-Version", "2023-06-01")
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	transport.PutCredential(req.Header, *s)
	client := &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return reply{call: call, err: err}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, onlineMaxBody))
	return reply{call: call, status: res.StatusCode, header: res.Header, body: text, err: err}
}

// judgeOnline interprets a reply.
func judgeOnline(s *config.Server, a reply, took time.Duration) online {
	detail := ""
	if e, ok := claude.ParseError(a.body); ok {
		detail = fmt.Sprintf(" (%.200s)", cmp.Or(withoutToken(s, e.Message), string(e.Type)))
	}
	html := strings.Contains(a.header.Get("Content-Type"), "html") || bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<"))
	switch {
	case a.status == http.StatusUnauthorized && s.Token.Empty():
		return fine("reached in %s; it has no token, so the credential of each client decides", took.Round(time.Millisecond))
	case a.status == http.StatusUnauthorized:
		return bad("status 401%s: the token is refused; check it, and auth_header", detail)
	case a.header.Get("Cf-Mitigated") != "", a.status == http.StatusForbidden && html:
		return bad("status %d: a firewall's page instead of an API response: it blocks this machine, or all programs", a.status)
	case a.status == http.StatusForbidden:
		return bad("status 403%s: the token is not allowed here, or not for this call", detail)
	case a.status >= 300 && a.status < 400:
		return bad("status %d: it redirects, and redirects are not followed; write the address that it redirects to", a.status)
	case html:
		return bad("status %d: a web page instead of an API response: the url leads to a site, not to its API", a.status)
	case a.status == http.StatusTooManyRequests, a.status == 529:
		return fine("reached in %s, and limited or overloaded at the moment: status %d%s", took.Round(time.Millisecond), a.status, detail)
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed, a.status == http.StatusNotImplemented:
		return fine("reached in %s, but it knows neither GET %s nor POST %s: the first message will show whether the token is accepted", took.Round(time.Millisecond), modelsCall, countCall)
	case a.status >= 500:
		return bad("status %d%s: the server is failing, or cannot reach its upstream", a.status, detail)
	case a.status >= 400:
		return fine("reached in %s; %s was refused with status %d%s", took.Round(time.Millisecond), a.call, a.status, detail)
	}
	var object struct {
		Data   []any    `json:"data"`
		Tokens *float64 `json:"input_tokens"`
	}
	if err := json.Unmarshal(a.body, &object); err != nil || object.Data == nil && object.Tokens == nil {
		return bad("status %d, but the response is not one of the Messages API: is the path of the url right?", a.status)
	}
	if s.Token.Empty() {
		return fine("%s in %s, without a token", a.call, took.Round(time.Millisecond))
	}
	return fine("%s in %s, the token is accepted", a.call, took.Round(time.Millisecond))
}

// withoutToken removes the token from a server's message, because some servers repeat it.
func withoutToken(s *config.Server, text string) string {
	if !s.Token.Empty() {
		text = strings.ReplaceAll(text, s.Token.Reveal(), "[redacted]")
	}
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}

// explainDial explains why there is no response, and what to write instead if that is known.
func explainDial(ctx context.Context, s *config.Server, err error) string {
	host, port := s.URL.Hostname(), cmp.Or(s.URL.Port(), map[string]string{"https": "443", "http": "80"}[s.URL.Scheme])
	if s.URL.Scheme == "https" && isPlainHTTP(err) {
		return fmt.Sprintf("this port speaks plain HTTP: write http://%s, if the network in between is trusted", s.URL.Host)
	}
	if s.URL.Scheme == "http" && speaksTLS(ctx, net.JoinHostPort(host, port)) {
		return "this port speaks TLS: write https://" + s.URL.Host
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		if name.IsNotFound {
			return fmt.Sprintf("the name %s does not exist: check its spelling, and the DNS of this machine", host)
		}
		return fmt.Sprintf("the name %s cannot be looked up: check the DNS of this machine", host)
	}
	if text := explainCertificate(err); text != "" {
		return text
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connection refused: nothing listens on port %s of %s", port, host)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no response within %s: a firewall, a wrong port, or a proxy that is missing (HTTPS_PROXY)", onlineTime)
	}
	if e, ok := errors.AsType[*url.Error](err); ok { // it repeats the URL
		err = e.Err
	}
	return withoutToken(s, err.Error())
}

// explainCertificate explains why a certificate was refused. It returns "" for other errors.
func explainCertificate(err error) string {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("the certificate is not for %s: the url names another host, or a proxy intercepts the connection", e.Host)
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "the certificate has expired, or the clock of this machine is wrong"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the certificate is from an authority that this machine does not know: set SSL_CERT_FILE to its certificate, or install it"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the certificate cannot be verified"
	}
	return ""
}

// isPlainHTTP reports whether the peer of a TLS handshake did not speak TLS.
func isPlainHTTP(err error) bool {
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// plainToTLS recognizes the responses of servers to plain HTTP on a TLS port.
func plainToTLS(s *config.Server, status int, body []byte) bool {
	text := bytes.ToLower(body[:min(len(body), 4096)])
	return s.URL.Scheme == "http" && status == http.StatusBadRequest &&
		(bytes.Contains(text, []byte("http request to an https server")) || bytes.Contains(text, []byte("plain http request was sent to https port")) ||
			bytes.Contains(text, []byte("speaking plain http to an ssl-enabled server port")))
}

// speaksTLS reports whether a TLS handshake succeeds, with any certificate.
func speaksTLS(ctx context.Context, address string) bool {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // nothing is sent
	c, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		_ = c.Close()
		return true
	}
	_, alert := errors.AsType[tls.AlertError](err)
	return alert
}

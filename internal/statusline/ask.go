package statusline

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// deadline is how long the balancer may take. Claude Code cancels slow status lines.
	deadline = 150 * time.Millisecond
	// maxBody bounds the response of the balancer, which has at most 1 KB.
	maxBody = 16 << 10
	// officialHost is where Claude Code sends requests without a balancer.
	officialHost = "api.anthropic.com"
)

// status is what the balancer reports; see package member.
type status struct {
	Server   string    `json:"server"`
	Failover *failover `json:"failover"`
	Session  *usage    `json:"session"`
	Today    *usage    `json:"today"`
	Budget   *budget   `json:"budget"`
	Headroom *float64  `json:"headroom"`
}

type failover struct {
	From   string  `json:"from"`
	Status int     `json:"status"`
	Scope  string  `json:"scope"`
	Age    float64 `json:"age_seconds"`
}

type usage struct {
	Cost       float64  `json:"cost_usd"`
	Incomplete bool     `json:"incomplete"`
	CacheRatio *float64 `json:"cache_ratio"`
}

type budget struct {
	Window string     `json:"window"`
	Spent  float64    `json:"spent_usd"`
	Limit  float64    `json:"limit_usd"`
	Resets *time.Time `json:"resets"`
}

// trouble is a reason why there is no status, as the line shows it. keep means that the latest
// known status is still more useful.
type trouble struct {
	text string
	keep bool
}

// Error implements error.
func (t *trouble) Error() string { return t.text }

// base returns the address of the balancer in the environment of Claude Code, or why there is none.
func base(env func(string) (string, bool)) (*url.URL, error) {
	for _, name := range []string{"CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"} {
		if v, _ := env(name); v != "" && v != "0" && !strings.EqualFold(v, "false") {
			return nil, &trouble{text: "direct: not through claude-code-lb (" + name + " is set)"}
		}
	}
	text, _ := env("ANTHROPIC_BASE_URL")
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if text == "" || err == nil && strings.EqualFold(u.Hostname(), officialHost) {
		return nil, &trouble{text: "direct: not through claude-code-lb"}
	}
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &trouble{text: "ANTHROPIC_BASE_URL is not an http:// or https:// address"}
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/v1/messages"), "/v1")
	u.RawPath, u.RawQuery, u.Fragment, u.User = "", "", "", nil
	return u, nil
}

// ask asks the balancer for the status of a session, with one request.
func ask(ctx context.Context, env func(string) (string, bool), at *url.URL, session string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	target := at.JoinPath("/lb/me/status")
	target.RawQuery = url.Values{"session": {session}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, &trouble{text: "ANTHROPIC_BASE_URL cannot be used"}
	}
	if token, _ := env("ANTHROPIC_AUTH_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	} else if key, _ := env("ANTHROPIC_API_KEY"); key != "" {
		request.Header.Set("X-Api-Key", key)
	}
	request.Header.Set("Accept", "application/json")
	response, err := client(env).Do(request)
	if err != nil {
		return nil, unreachable(ctx, err, at)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, unreachable(ctx, err, at)
	}
	return body, judge(response.StatusCode, body, at)
}

// judge returns why a response is not a status, nil if it is one.
func judge(code int, body []byte, at *url.URL) error {
	var s status
	switch {
	case code == http.StatusOK && json.Unmarshal(body, &s) == nil:
		return nil
	case code == http.StatusUnauthorized:
		return &trouble{text: "the key is not accepted (" + at.Host + ")"}
	case code == http.StatusForbidden:
		return &trouble{text: "no status for this key or address (" + at.Host + ")"}
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		return &trouble{text: "busy (" + at.Host + ")", keep: true}
	case code == http.StatusNotFound && strings.Contains(string(body), "claude-code-lb"):
		return &trouble{text: "this balancer has no status: update it (" + at.Host + ")"}
	default:
		return &trouble{text: "not through claude-code-lb (" + at.Host + ")"}
	}
}

// unreachable returns the trouble of a request without a response. A slow response proves nothing,
// so the latest status stays.
func unreachable(ctx context.Context, err error, at *url.URL) error {
	var timeout net.Error
	if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		return &trouble{text: "no response yet (" + at.Host + ")", keep: true}
	}
	return &trouble{text: "not reachable (" + at.Host + ")"}
}

// client returns an HTTP client that follows no redirects, because they would pass the key on.
func client(env func(string) (string, bool)) *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	if file, _ := env("NODE_EXTRA_CA_CERTS"); file != "" {
		if pem, err := os.ReadFile(file); err == nil {
			pool, err := x509.SystemCertPool()
			if err != nil {
				pool = x509.NewCertPool()
			}
			pool.AppendCertsFromPEM(pem)
			transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		}
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

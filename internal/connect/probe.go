package connect

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// probeTimeout limits each request of a probe. The balancer answers the list of models within
// seconds or not at all.
const probeTimeout = 15 * time.Second

// BaseOf returns the base URL that a user means: without a slash or /v1 at its end.
func BaseOf(given string) (string, error) {
	if !strings.Contains(given, "://") {
		return "", fmt.Errorf("%s is not a URL: begin with http:// or https://", ShowURL(given))
	}
	u, err := url.Parse(given)
	switch {
	case err != nil:
		return "", errors.New("the URL cannot be read: it has an invalid character, port or escape")
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("%s: want a URL that begins with http:// or https://", ShowURL(given))
	case u.Hostname() == "":
		return "", fmt.Errorf("%s has no host", ShowURL(given))
	case u.User != nil:
		return "", errors.New("the URL has a user name or password: give the key with -key-file or -key - instead")
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("%s has a query or fragment, which a base URL cannot have", ShowURL(given))
	}
	base := strings.TrimRight(given, "/")
	for _, end := range []string{"/v1/messages", "/v1"} {
		base = strings.TrimRight(strings.TrimSuffix(base, end), "/")
	}
	return base, nil
}

// Probe asks a balancer for its health and whether it accepts a key.
type Probe struct {
	Base   string
	client *http.Client
}

// Health is the part of a balancer's health that matters here.
type Health struct {
	Status    string `json:"status"`
	Total     *int   `json:"total"`
	Available int    `json:"available"`
}

// NewProbe returns a probe. It connects as Claude Code does: through the proxy of the environment,
// and with the certificates of NODE_EXTRA_CA_CERTS besides those of the system.
func NewProbe(base, extraCertificates string) (*Probe, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	if extraCertificates != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		text, err := os.ReadFile(extraCertificates)
		if err != nil {
			return nil, fmt.Errorf("read NODE_EXTRA_CA_CERTS: %w", err)
		}
		pool.AppendCertsFromPEM(text)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &Probe{base, &http.Client{
		Transport: transport, Timeout: probeTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Health asks for the health. The error explains what to correct in the URL.
func (p *Probe) Health(ctx context.Context) (*Health, error) {
	res, body, err := p.get(ctx, "/health", "")
	if err != nil {
		return nil, p.explain(err)
	}
	if location := res.Header.Get("Location"); res.StatusCode >= 300 && res.StatusCode < 400 && location != "" {
		target := "another address"
		if u, err := res.Location(); err == nil {
			target = ShowURL(strings.TrimSuffix(u.String(), "/health"))
		}
		return nil, fmt.Errorf("%s redirects to %s: connect to that one", p.Base, target)
	}
	if bytes.Contains(body, []byte("HTTPS")) && strings.HasPrefix(p.Base, "http://") && res.StatusCode == http.StatusBadRequest {
		return nil, fmt.Errorf("%s answers HTTPS alone: connect to https:// with the name in its certificate", p.Base)
	}
	var health Health
	if err := json.Unmarshal(body, &health); err != nil || health.Status == "" || health.Total == nil {
		return nil, fmt.Errorf("%s is not claude-code-lb: it answered %s/health with status %d", p.Base, p.Base, res.StatusCode)
	}
	return &health, nil
}

// explain says why the balancer could not be asked.
func (p *Probe) explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var wrongHost x509.HostnameError
	switch {
	case errors.As(err, &wrongHost):
		return fmt.Errorf("the certificate of %s is for another name: connect to the name in the certificate", p.Base)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of %s is signed by an unknown authority: set NODE_EXTRA_CA_CERTS to the file with that authority's certificate, for Claude Code as well", p.Base)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s answers plain HTTP: connect to http://%s", p.Base, strings.TrimPrefix(p.Base, "https://"))
	case errors.Is(err, context.Canceled):
		return err
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("%s cannot be reached: %w. Start the balancer, or correct the URL", p.Base, err)
}

// Verdict is what a balancer did with a key.
type Verdict int

// The verdicts.
const (
	Accepted   Verdict = iota // the list of models came back
	Uncertain                 // the balancer accepted it, an upstream had no list of models
	KeyNeeded                 // the balancer requires a client key
	Rejected                  // an upstream refused the request
	TooManyTry                // too many wrong keys came from this machine
)

// Key tries a key with a request that costs nothing. An empty key stands for none.
func (p *Probe) Key(ctx context.Context, key string) (Verdict, int, error) {
	res, body, err := p.get(ctx, "/v1/models?limit=1", key)
	switch {
	case err != nil:
		return 0, 0, p.explain(err)
	case res.StatusCode < 300:
		return Accepted, res.StatusCode, nil
	case res.StatusCode == http.StatusUnauthorized && bytes.Contains(body, []byte("claude-code-lb does not know this client key")):
		return KeyNeeded, res.StatusCode, nil
	case res.StatusCode == http.StatusTooManyRequests && bytes.Contains(body, []byte("wrong client keys")):
		return TooManyTry, res.StatusCode, nil
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return Rejected, res.StatusCode, nil
	}
	return Uncertain, res.StatusCode, nil
}

// get sends a request and reads a bounded response.
func (p *Probe) get(ctx context.Context, path, key string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Base+path, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Anthropic-Version", "2023-06-01")
	req.Header.Set("User-Agent", "claude-code-lb-connect")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res, body, err
}

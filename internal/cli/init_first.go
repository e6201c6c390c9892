package cli

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const (
	defaultURL    = "https://api.anthropic.com"
	defaultListen = "127.0.0.1:3000"
)

// firstConfig is the configuration that init writes.
type firstConfig struct {
	listen  string
	cert    string // file with the certificate for HTTPS
	key     string // file with its private key
	mode    config.Mode
	servers []firstServer
	keys    []config.Secret // client keys; without any, clients need none
	madeKey config.Secret   // the client key that init generated
}

// firstServer is an upstream in a firstConfig.
type firstServer struct {
	url   string
	token config.Secret
}

func (c *firstConfig) fillDefaults() {
	if c.listen == "" {
		c.listen = defaultListen
	}
	if c.mode == "" {
		c.mode = config.ModeLoadBalance
	}
}

// render returns the content of the file, including the secrets.
func (c *firstConfig) render() []byte {
	type server struct {
		URL   string `json:"url"`
		Token string `json:"token,omitempty"`
	}
	file := struct {
		Listen   string      `json:"listen,omitempty"`
		TLSCert  string      `json:"tls_cert,omitempty"`
		TLSKey   string      `json:"tls_key,omitempty"`
		Mode     config.Mode `json:"mode,omitempty"`
		Servers  []server    `json:"servers"`
		Auth     bool        `json:"auth"`
		AuthKeys []string    `json:"auth_keys,omitempty"`
	}{Listen: c.listen, TLSCert: c.cert, TLSKey: c.key, Mode: c.mode, Auth: len(c.keys) > 0}
	for _, s := range c.servers {
		file.Servers = append(file.Servers, server{s.url, s.token.Reveal()})
	}
	for _, k := range c.keys {
		file.AuthKeys = append(file.AuthKeys, k.Reveal())
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(file); err != nil {
		panic("cli: encode a first configuration: " + err.Error()) // strings always encode
	}
	return b.Bytes()
}

// problems returns the problems that the file would have at path.
func (c *firstConfig) problems(path string, env func(string) (string, bool)) config.Problems {
	_, problems := config.Decode(path, c.render(), env)
	return problems
}

// nextSteps returns the commands that come after init.
func nextSteps(std service.Std, path string, c firstConfig) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Wrote %s, readable by you alone.\n", path)
	for _, p := range c.problems(path, std.Env) {
		fmt.Fprintf(&b, "  note: %s: %s\n", p.Path, p.Msg)
	}
	start := "claude-code-lb"
	if service.ConfigPath(std, "") != path {
		start += " -c " + service.ShellQuote(path)
	}
	fmt.Fprintf(&b, `
Start the balancer:
  %s

Then, where Claude Code runs:
  export ANTHROPIC_BASE_URL=%s
  export ANTHROPIC_AUTH_TOKEN=%s
  claude

Or, once for all sessions of this user (connect -undo takes it back):
  %s connect %s
`, start, c.baseURL(path, std.Env), c.clientToken(), start, c.baseURL(path, std.Env))
	return b.String()
}

// baseURL is the URL of the balancer for clients on this machine, with the file at path.
func (c *firstConfig) baseURL(path string, env func(string) (string, bool)) string {
	address := service.LocalAddress(c.listen)
	if c.cert == "" {
		return "http://" + address
	}
	cfg, _ := config.Decode(path, c.render(), assumeSet(env))
	url, _ := secureURL(address, cfg.Certificate)
	return url
}

// secureURL is the URL of an address with HTTPS. A certificate is rarely valid for an address such
// as 127.0.0.1: then one of its names is used. It reports whether the certificate has that name.
func secureURL(address string, certificate *tls.Certificate) (url string, valid bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || certificate == nil {
		return "https://" + address, false
	}
	if certificate.Leaf.VerifyHostname(host) == nil {
		return "https://" + address, true
	}
	for _, name := range certificate.Leaf.DNSNames {
		if !strings.HasPrefix(name, "*") {
			return "https://" + net.JoinHostPort(name, port), true
		}
	}
	return "https://" + address, false
}

// clientToken is the value for ANTHROPIC_AUTH_TOKEN, with a shell comment if it is a placeholder.
func (c *firstConfig) clientToken() string {
	if !c.madeKey.Empty() {
		return c.madeKey.Reveal() // shown once: the operator has to copy it
	}
	if len(c.keys) > 0 {
		return "YOUR_KEY   # one of auth_keys"
	}
	for _, s := range c.servers {
		if s.token.Empty() {
			return "YOUR_TOKEN   # passed on to " + s.url
		}
	}
	return "unused   # any word: the balancer sends its own token"
}

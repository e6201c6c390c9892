package config

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// nameServers gives every server a unique name. Written names come first, so that a derived one
// never takes them.
func (d *decoder) nameServers(cfg *Config) {
	owner := map[string]int{}
	for i := range cfg.Servers {
		s := &cfg.Servers[i]
		path := fmt.Sprintf("servers[%d].name", i)
		n, ok := d.wrote(path)
		if !ok || s.Name == "" {
			continue
		}
		d.checkLabel(n.offset, path, s.Name)
		if other, taken := owner[s.Name]; taken {
			d.errorf(n.offset, path, "%s is already the name of servers[%d]", n.label(), other)
			s.Name = ""
			continue
		}
		owner[s.Name] = i
	}
	for i := range cfg.Servers {
		s := &cfg.Servers[i]
		if s.Name != "" {
			continue
		}
		base := "server"
		if s.URL != nil {
			base = s.URL.Host
		}
		s.Name = base
		for n := 2; ; n++ {
			if _, taken := owner[s.Name]; !taken {
				break
			}
			s.Name = fmt.Sprintf("%s-%d", base, n)
		}
		owner[s.Name] = i
	}
}

// checkLabel reports a name that is not suitable for a log line.
func (d *decoder) checkLabel(offset int, path, s string) {
	unfit := func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) }
	if strings.ContainsFunc(s, unfit) || len(s) > 100 {
		d.errorf(offset, path, "must be one line of at most 100 bytes, without control characters")
	}
}

func (d *decoder) checkServer(cfg *Config, i int) {
	s := cfg.Servers[i]
	at := func(name string) string { return fmt.Sprintf("servers[%d].%s", i, name) }
	cfg.Servers[i].BalanceEnv = NewSecret(strings.Join(d.commandEnv[at("balance_check")], "\x00"))
	d.checkURL(s, at("url"))
	d.checkToken(cfg, s, i)
	d.checkHealth(s, at("health_check"))
	if n, ok := d.wrote(at("account")); ok {
		d.checkLabel(n.offset, at("account"), s.Account)
	}

	if n, ok := d.wrote(at("priority")); ok && s.Priority != 0 && cfg.Mode == ModeLoadBalance && d.fine("mode") {
		d.warnf(n.offset, at("priority"), "is ignored in load_balance mode: it ranks servers in fallback mode")
	}
	if n, ok := d.wrote(at("weight")); ok && s.Weight > 1 && cfg.Mode == ModeLoadBalance && cfg.Algorithm.treatsAlike() && d.fine("mode") && d.fine("algorithm") {
		d.warnf(n.offset, at("weight"), `is ignored with algorithm %s: write "algorithm": "weighted_round_robin"`, cfg.Algorithm)
	}
	if n, ok := d.wrote(at("priority")); ok && s.Priority != 0 && s.Weight == 0 && cfg.Mode == ModeFallback {
		d.warnf(n.offset, at("priority"), "is ignored while weight is 0: the server gets no new work")
	}
	if !s.BalanceCheck.Empty() || !d.fine(at("balance_check")) {
		return
	}
	for _, name := range []string{"balance_check_interval", "balance_threshold"} {
		if n, ok := d.wrote(at(name)); ok {
			d.warnf(n.offset, at(name), `is ignored without "balance_check"`)
		}
	}
}

func (d *decoder) checkURL(s Server, path string) {
	n, ok := d.wrote(path)
	if !ok {
		return
	}
	if s.URL.Scheme == "http" && !IsLoopback(s.URL.Hostname()) {
		d.warnf(n.offset, path, "sends prompts and tokens unencrypted: use https:// if the server offers it")
	}
	for _, suffix := range []string{"/v1", "/v1/messages"} {
		if !strings.HasSuffix(s.URL.Path, suffix) {
			continue
		}
		hint := ""
		if n.shown != "" {
			hint = fmt.Sprintf(": write %q", strings.TrimSuffix(strings.TrimRight(n.shown, "/"), suffix))
		}
		d.warnf(n.offset, path, "ends in %s, which clients add themselves%s", suffix, hint)
	}
}

func (d *decoder) checkToken(cfg *Config, s Server, i int) {
	path := fmt.Sprintf("servers[%d].token", i)
	n, written := d.nodes[path]
	if written && !n.ok || !d.fine("auth") {
		return
	}
	if !s.Token.Empty() {
		d.checkHeaderValue(n.offset, path, s.Token)
		return
	}
	if !written {
		n = d.nodes[fmt.Sprintf("servers[%d]", i)]
		if d.src.text[n.offset] != '{' { // not an object, so it cannot contain one
			return
		}
	}
	if cfg.Auth {
		d.warnf(n.offset, path, "is missing: requests go there without a credential, because with auth on the key of the client is not passed on")
	} else {
		d.warnf(n.offset, path, "is missing: the credential of the client is passed on")
	}
	header := fmt.Sprintf("servers[%d].auth_header", i)
	if n, ok := d.wrote(header); ok && s.AuthHeader != AuthHeaderAuto {
		d.warnf(n.offset, header, `is ignored without "token"`)
	}
}

// checkTwins reports servers that use the same account at the same address.
func (d *decoder) checkTwins(cfg *Config) {
	type identity struct {
		url   string
		token Secret
	}
	first := map[identity]int{}
	for i, s := range cfg.Servers {
		path := fmt.Sprintf("servers[%d]", i)
		if s.URL == nil || !d.fine(path+".url") || !d.fine(path+".token") {
			continue
		}
		id := identity{sameAddress(s.URL), s.Token}
		if other, twin := first[id]; twin {
			d.warnf(d.nodes[path].offset, path, "has the url and the token of servers[%d]: both are one account with one limit", other)
			continue
		}
		first[id] = i
	}
}

// sameAddress returns an address in a normal form: lower-case host, without the default port.
func sameAddress(u *url.URL) string {
	plain := *u
	plain.Host = strings.ToLower(u.Host)
	if usual := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]; usual != "" {
		plain.Host = strings.TrimSuffix(plain.Host, usual)
	}
	return plain.String()
}

func (d *decoder) checkDrained(cfg *Config) {
	for _, s := range cfg.Servers {
		if s.Weight > 0 {
			return
		}
	}
	if n, ok := d.wrote("servers"); ok {
		d.warnf(n.offset, "servers", "all have weight 0: no server takes new work")
	}
}

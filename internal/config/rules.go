package config

import (
	"fmt"
	"net"
	"strings"
)

// check applies the rules for several fields together, and those for the meaning of one. It skips a
// field that already has an error.
func (d *decoder) check(cfg *Config) {
	d.checkMode(cfg)
	d.checkListen(cfg)
	if d.uses("tls_cert") {
		d.checkTLS(cfg)
	}
	d.checkAdmin(cfg)
	if d.uses("auth_keys") {
		d.checkClientKeys(cfg)
	}
	if n, ok := d.wrote("time_zone"); ok {
		d.checkZone(n, "time_zone", cfg.TimeZone)
	}
	d.checkOrigins(cfg)
	d.checkProxies(cfg)
	d.checkWeak(cfg)
	d.nameServers(cfg)
	for i := range cfg.Servers {
		d.checkServer(cfg, i)
	}
	d.checkTwins(cfg)
	d.checkDrained(cfg)
	d.checkErrorRules(cfg)
	d.checkFailover(cfg)
	d.checkPrices(cfg)
	d.checkWebhooks(cfg)
}

// checkMode derives the mode from its field and the deprecated one.
func (d *decoder) checkMode(cfg *Config) {
	fallback, wroteFallback := d.nodes["fallback"]
	_, wroteMode := d.nodes["mode"]
	switch {
	case !wroteFallback:
	case !cfg.Fallback:
		d.warnf(fallback.offset, "fallback", `is deprecated: remove it, "mode" says it all`)
	case !wroteMode:
		cfg.Mode = ModeFallback
		d.warnf(fallback.offset, "fallback", `is deprecated: write "mode": "fallback" instead`)
	case cfg.Mode != ModeFallback:
		d.warnf(fallback.offset, "fallback", `is deprecated and ignored, because "mode" is written: remove one of them`)
	default:
		d.warnf(fallback.offset, "fallback", `is deprecated: remove it, "mode" says the same`)
	}
	if n, ok := d.wrote("algorithm"); ok && cfg.Mode == ModeFallback {
		d.warnf(n.offset, "algorithm", "is ignored in fallback mode: servers are taken by priority")
	}
}

func (d *decoder) checkListen(cfg *Config) {
	if n, ok := d.wrote("port"); ok {
		switch {
		case !isPort(cfg.Port):
			hint := ""
			if _, _, err := net.SplitHostPort(cfg.Port); err == nil {
				hint = `: write an address in "listen"`
			}
			d.errorf(n.offset, "port", "%s is not a number from 0 to 65535%s", n.label(), hint)
		case cfg.Listen != "":
			d.warnf(n.offset, "port", `is ignored, because "listen" is written`)
		}
	}
	if n, ok := d.wrote("listen"); ok && cfg.Listen != "" {
		d.checkBinding(n, "listen", cfg.Listen, "3000")
	}
}

// checkBinding reports an invalid address to listen on, and returns whether the address is valid.
func (d *decoder) checkBinding(n node, path, address, usualPort string) bool {
	host, port, err := net.SplitHostPort(address)
	if err == nil && isPort(port) && !strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == '/' }) {
		return true
	}
	hint := fmt.Sprintf(` such as "127.0.0.1:%s"`, usualPort)
	switch {
	case n.shown == "":
	case isPort(n.shown):
		hint = fmt.Sprintf(`: write ":%s" for every interface or "127.0.0.1:%s" for this machine alone`, n.shown, n.shown)
	case err != nil && !strings.ContainsAny(n.shown, ":/ "):
		hint = fmt.Sprintf(`: write "%s:%s"`, shorten(n.shown), usualPort)
	}
	d.errorf(n.offset, path, "%s is not an address and port%s", n.label(), hint)
	return false
}

func (d *decoder) checkClientKeys(cfg *Config) {
	d.includeKeys(cfg)
	for i := range cfg.AuthKeys {
		if strings.HasPrefix(cfg.AuthKeys[i].Place, "auth_keys") {
			d.checkKey(&cfg.AuthKeys[i])
		}
	}
	d.nameKeys(cfg)
	d.checkPrevious(cfg)
	if n, ok := d.wrote("resources"); ok && !cfg.Auth && d.fine("auth") {
		d.warnf(n.offset, "resources", `is ignored, because "auth" is off: without client keys nothing has an owner`)
	}
	keys, wroteKeys := d.nodes["auth_keys"]
	if !wroteKeys {
		keys, wroteKeys = d.nodes["keys_file"]
	}
	switch {
	case cfg.Auth && len(cfg.AuthKeys) == 0 && keys.ok && cfg.KeysFile != "":
		d.warnf(keys.offset, "keys_file", `holds no key yet: no client is accepted ("claude-code-lb key new -name NAME" makes one)`)
	case cfg.Auth && len(cfg.AuthKeys) == 0 && (keys.ok || !wroteKeys):
		d.errorf(d.nodes["auth"].offset, "auth", `is on without keys: list at least one in "auth_keys"`)
	case !cfg.Auth && len(cfg.AuthKeys) > 0 && d.fine("auth"):
		d.warnf(keys.offset, "auth_keys", `is ignored, because "auth" is off: every client is accepted`)
	}
}

// fine reports whether the field at path is absent or has no error.
func (d *decoder) fine(path string) bool {
	n, written := d.nodes[path]
	return n.ok || !written
}

package config

import (
	"fmt"
	"net"
	"strings"
	"unicode"
)

// check applies the rules that concern more than one field, and those that
// concern the meaning of one. A field with an error of its own is left alone.
func (d *decoder) check(cfg *Config) {
	d.checkMode(cfg)
	d.checkListen(cfg)
	d.checkClientKeys(cfg)
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

// checkMode settles the mode between its field and the deprecated one.
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
	n, ok := d.wrote("listen")
	if !ok || cfg.Listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err == nil && isPort(port) && !strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == '/' }) {
		return
	}
	hint := ` such as "127.0.0.1:3000"`
	switch {
	case n.shown == "":
	case isPort(n.shown):
		hint = fmt.Sprintf(`: write ":%s" for every interface or "127.0.0.1:%s" for this machine alone`, n.shown, n.shown)
	case err != nil && !strings.ContainsAny(n.shown, ":/ "):
		hint = fmt.Sprintf(`: write "%s:3000"`, shorten(n.shown))
	}
	d.errorf(n.offset, "listen", "%s is not an address and port%s", n.label(), hint)
}

func (d *decoder) checkClientKeys(cfg *Config) {
	first := map[Secret]int{}
	for i, key := range cfg.AuthKeys {
		path := fmt.Sprintf("auth_keys[%d]", i)
		n, ok := d.wrote(path)
		if !ok {
			continue
		}
		if key.Empty() {
			d.errorf(n.offset, path, "is empty: anybody could show it")
			continue
		}
		d.checkHeaderValue(n.offset, path, key)
		if other, dup := first[key]; dup {
			d.errorf(n.offset, path, "is the same key as auth_keys[%d]: remove one", other)
			continue
		}
		first[key] = i
	}
	keys, wroteKeys := d.nodes["auth_keys"]
	switch {
	case cfg.Auth && len(cfg.AuthKeys) == 0 && (keys.ok || !wroteKeys):
		d.errorf(d.nodes["auth"].offset, "auth", `is on without keys: list at least one in "auth_keys"`)
	case !cfg.Auth && len(cfg.AuthKeys) > 0 && d.fine("auth"):
		d.warnf(keys.offset, "auth_keys", `is ignored, because "auth" is off: anybody is let in`)
	}
}

// fine reports whether the field at path is either absent or without an error.
func (d *decoder) fine(path string) bool {
	n, written := d.nodes[path]
	return n.ok || !written
}

// checkHeaderValue reports what cannot be sent in a header, or only by mistake.
func (d *decoder) checkHeaderValue(offset int, path string, s Secret) {
	switch value := s.Reveal(); {
	case strings.ContainsFunc(value, unicode.IsControl):
		d.errorf(offset, path, "holds a line break or another control character, which cannot be sent in a header")
	case strings.TrimSpace(value) != value:
		d.errorf(offset, path, "begins or ends with a blank")
	case len(value) > 7 && strings.EqualFold(value[:7], "Bearer "):
		d.warnf(offset, path, `begins with "Bearer", which is added when it is sent: write the token alone`)
	}
}

package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// leastKey is the minimum length of a key that cannot be guessed.
const leastKey = 16

// sampleWords are the words of keys in documentation, examples and tutorials.
const sampleWords = " sk ant api api01 key keys apikey your my our the a an client clients auth admin root token tokens secret secrets password pass passwd pwd change me changeme please " +
	"example examples sample test tests testing demo dummy default here primary secondary main backup server upstream user users ann bob alice team abc abcd abcdef xyz foo bar baz qwerty " +
	"placeholder replace replaceme this that with value insert todo fixme lb proxy claude code anthropic openai none null undefined redacted hidden strong random long enter put set local dev "

// weakf records a warning about an unsafe setting.
func (d *decoder) weakf(offset int, path, format string, args ...any) {
	line, col := d.src.position(offset)
	d.cfg.Weak = append(d.cfg.Weak, Problem{File: d.src.file, Line: line, Col: col, Path: path, Msg: fmt.Sprintf(format, args...), Warning: true})
}

// checkWeak warns about keys that can be guessed, and about access without a key.
func (d *decoder) checkWeak(cfg *Config) {
	if n, ok := d.wrote("admin_key"); ok && !cfg.AdminKey.Empty() {
		if problem := weakness(cfg.AdminKey.Reveal()); problem != "" {
			d.weakf(n.offset, "admin_key", "%s: write a random one, such as \"openssl rand -hex 24\" prints", problem)
		}
	}
	if !cfg.Auth {
		d.checkOpen(cfg)
		return
	}
	for i := range cfg.AuthKeys {
		k := &cfg.AuthKeys[i]
		problem := ""
		switch {
		case !k.Key.Empty():
			problem = weakness(k.Key.Reveal())
		case k.KeySHA256 != "" && isSampleHash(k.KeySHA256):
			problem = isSample
		}
		if problem != "" {
			d.weakf(d.nodes[k.Place].offset, k.Place, "%s: \"claude-code-lb key new\" makes a strong one", problem)
		}
	}
}

const isSample = "is a sample key, which anyone can guess"

// weakness describes why a key can be guessed, "" if it cannot.
func weakness(key string) string {
	switch {
	case isSampleKey(key):
		return isSample
	case len(key) < leastKey:
		return fmt.Sprintf("has fewer than %d characters, so it can be guessed", leastKey)
	}
	return ""
}

// isSampleKey reports whether a key consists only of sample words, numbers and repeated characters.
func isSampleKey(key string) bool {
	words := strings.FieldsFunc(strings.ToLower(key), func(r rune) bool { return !isAlphanumeric(r) })
	return !slices.ContainsFunc(words, func(word string) bool { return !isSampleWord(word) })
}

func isSampleWord(word string) bool {
	letters := strings.TrimRight(word, "0123456789")
	digits := word[len(letters):]
	return (isRepeated(letters) || strings.Contains(sampleWords, " "+letters+" ")) &&
		(len(digits) <= 4 || isRepeated(digits) || strings.Contains("01234567890123456789012345678901234567890", digits))
}

// isRepeated reports whether text repeats one character; an empty text counts as repeated.
func isRepeated(text string) bool { return text == "" || strings.Trim(text, text[:1]) == "" }

// isSampleHash reports whether a hash is that of a well-known sample.
func isSampleHash(hash string) bool {
	samples := []string{"test", "secret", "password", "admin", "key", "token", "change-me", "changeme", "change_me", "your-api-key", "your-client-key", "your-secret-key", "sk-client-key", "sk-test", "sk-1234", "123456", "12345678"}
	for _, s := range samples {
		for _, suffix := range []string{"", "-1", "-2", "-3", "-here"} {
			if sum := sha256.Sum256([]byte(s + suffix)); strings.EqualFold(hash, hex.EncodeToString(sum[:])) {
				return true
			}
		}
	}
	return false
}

// checkOpen warns of a balancer without auth that other machines can reach.
func (d *decoder) checkOpen(cfg *Config) {
	host, _, err := net.SplitHostPort(cfg.Address())
	if err != nil || IsLoopback(host) {
		return
	}
	at := "auth"
	for _, name := range []string{"listen", "port", "auth"} {
		if _, ok := d.nodes[name]; ok {
			at = name
		}
	}
	d.weakf(d.nodes[at].offset, "auth", "is off, and other machines can reach %s and spend the servers' tokens. Switch it on, or listen on 127.0.0.1", cfg.Address())
}

// Proxies returns the networks of trusted_proxies.
func (c *Config) Proxies() []netip.Prefix {
	var list []netip.Prefix
	for _, s := range c.TrustedProxies {
		if p, err := parsePrefix(s); err == nil {
			list = append(list, p)
		}
	}
	return list
}

func (d *decoder) checkProxies(cfg *Config) {
	for i, s := range cfg.TrustedProxies {
		path := fmt.Sprintf("trusted_proxies[%d]", i)
		n, ok := d.wrote(path)
		if !ok {
			continue
		}
		switch p, err := parsePrefix(s); {
		case err != nil:
			d.errorf(n.offset, path, `%s is not an address or a network such as "10.0.0.0/8"`, n.label())
		case p.Bits() == 0:
			d.errorf(n.offset, path, "trusts every sender, so clients could choose their own address. List only the proxies")
		case slices.Contains(cfg.TrustedProxies[:i], s):
			d.warnf(n.offset, path, "is written twice: remove one")
		}
	}
}

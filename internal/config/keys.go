package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/tailscale/hujson"
)

// ClientKey is a client key with its limits. 0 means no limit.
type ClientKey struct {
	Key         Secret   `name:"key" omit:"zero" shorthand:"true" doc:"The key. Either this or 'key_sha256'. A string in place of the object means this field."`
	KeySHA256   string   `name:"key_sha256" omit:"zero" doc:"SHA-256 of the key in hexadecimal digits, as 'claude-code-lb key new' prints it, so that the file does not contain the key."`
	Name        string   `name:"name" omit:"zero" doc:"Name of the key in logs, reports and metrics; unique. Spending and created resources belong to this name. The default is 'key-' and the first digits of a hash of the key, so removing one key never renames another."`
	Expires     string   `name:"expires" omit:"zero" doc:"Last day on which the key is valid, in UTC, such as '2026-12-31', or the time at which it expires, such as '2026-12-31T12:00:00+01:00'."`
	Models      []string `name:"models" omit:"zero" doc:"Patterns for the allowed models: '*' matches any text, '?' one character. By default all models are allowed."`
	IPs         []string `name:"ips" omit:"zero" doc:"Addresses that requests may come from, such as '10.0.0.0/8' or '192.0.2.7': the address of the connection, regardless of headers. By default all addresses are allowed."`
	RPM         int      `name:"rpm" omit:"zero" default:"0" min:"0" doc:"Requests per minute. 0 means no limit."`
	TPM         int      `name:"tpm" omit:"zero" default:"0" min:"0" doc:"Tokens per minute: output, and input without tokens read from the prompt cache. 0 means no limit."`
	Concurrency int      `name:"concurrency" omit:"zero" default:"0" min:"0" doc:"Most requests at the same time. Further requests wait, in turn by session. 0 means no limit."`
	Budget      Budget   `name:"budget_usd" omit:"zero" doc:"Spending limits in dollars."`
	Priority    int      `name:"priority" omit:"zero" default:"0" min:"0" max:"100" doc:"Order of requests that wait for 'max_concurrency': the highest priority first."`
	Group       string   `name:"group" omit:"zero" doc:"Keys with the same group share what they create: files, batches, skills and containers. Without a group only the key itself may use them, unless 'resources' is 'shared'."`

	Previous []PreviousKey `name:"previous" omit:"zero" doc:"Former secrets of this key that are still valid for a while, as 'claude-code-lb key rotate' writes them."`

	Place string // path of the field, such as auth_keys[0]
}

// PreviousKey is a former secret of a client key, which stays valid for a while.
type PreviousKey struct {
	KeySHA256 string `name:"key_sha256" required:"true" doc:"SHA-256 of the former key in hexadecimal digits."`
	Until     string `name:"until" required:"true" doc:"Time from which the former key is refused, such as '2026-12-31T12:00:00Z'."`
}

// Hash returns the SHA-256 of the former key.
func (p PreviousKey) Hash() [sha256.Size]byte { return decodeHash(p.KeySHA256) }

// End returns the time from which the former key is rejected.
func (p PreviousKey) End() time.Time {
	t, _ := time.Parse(time.RFC3339, p.Until) // Decode has checked it
	return t
}

// decodeHash decodes 64 hexadecimal digits, which Decode has checked.
func decodeHash(digits string) (sum [sha256.Size]byte) {
	_, _ = hex.Decode(sum[:], []byte(digits))
	return sum
}

// Tenant returns the owner of the key's resources: the key itself, or its group.
func (k *ClientKey) Tenant() string {
	if k.Group != "" {
		return "group " + k.Group
	}
	return TenantOfKey(k.Name)
}

// TenantOfKey returns the Tenant of a key without a group.
func TenantOfKey(name string) string { return "key " + name }

// Budget is the spending limit of a client key, in dollars. 0 means no limit.
type Budget struct {
	Day      float64 `name:"day" omit:"zero" default:"0" min:"0" max:"1000000000" doc:"Limit per calendar day. 0 means no limit."`
	Week     float64 `name:"week" omit:"zero" default:"0" min:"0" max:"1000000000" doc:"Limit per calendar week, from Monday. 0 means no limit."`
	Month    float64 `name:"month" omit:"zero" default:"0" min:"0" max:"1000000000" doc:"Limit per calendar month. 0 means no limit."`
	Total    float64 `name:"total" omit:"zero" default:"0" min:"0" max:"1000000000" doc:"Limit for all time. 0 means no limit."`
	TimeZone string  `name:"time_zone" omit:"zero" doc:"Time zone of the calendar days, such as 'Europe/Berlin'. The default is the top-level 'time_zone'."`
}

// Hash returns the SHA-256 of the key.
func (k *ClientKey) Hash() [sha256.Size]byte {
	if k.KeySHA256 == "" {
		return sha256.Sum256([]byte(k.Key.Reveal()))
	}
	return decodeHash(k.KeySHA256)
}

// Expiry returns the time from which the key is invalid, zero if it does not expire.
func (k *ClientKey) Expiry() time.Time {
	t, _ := parseExpiry(k.Expires) // Decode has checked it
	return t
}

func parseExpiry(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	return time.Parse(time.RFC3339, s)
}

// Prefixes returns the networks that requests may come from.
func (k *ClientKey) Prefixes() []netip.Prefix {
	var list []netip.Prefix
	for _, s := range k.IPs {
		if p, err := parsePrefix(s); err == nil {
			list = append(list, p)
		}
	}
	return list
}

func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// maxKeysFile bounds a keys file: enough for more than 10,000 keys.
const maxKeysFile = 8 << 20

// includeKeys appends the entries of the keys file.
func (d *decoder) includeKeys(cfg *Config) {
	for i := range cfg.AuthKeys {
		cfg.AuthKeys[i].Place = fmt.Sprintf("auth_keys[%d]", i)
	}
	n, ok := d.wrote("keys_file")
	if !ok || cfg.KeysFile == "" {
		return
	}
	name := cfg.KeysFile
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(d.src.file), name)
	}
	text, err := readBounded(name, maxKeysFile)
	if !slices.Contains(d.files, name) && err != errIrregular { //nolint:errorlint // it is never wrapped
		d.files = append(d.files, name)
	}
	if err != nil {
		d.nodes["keys_file"] = node{offset: n.offset}
		d.errorf(n.offset, "keys_file", `cannot read %s: %v ("claude-code-lb key new" makes it)`, n.label(), err)
		return
	}
	more := &decoder{src: source{name, trimBOM(text)}, env: d.env, cfg: cfg, identity: d.vault(), nodes: map[string]node{}, files: d.files, most: maxKeysFile}
	var keys []ClientKey
	if v, ok := more.parse(); ok {
		more.list("", v, field{name: "keys", typ: reflect.TypeFor[[]ClientKey](), shape: shapeList}, reflect.ValueOf(&keys).Elem())
	}
	for i := range keys {
		keys[i].Place = fmt.Sprintf("[%d]", i)
		more.checkKey(&keys[i])
		if _, wrote := more.nodes[keys[i].Place]; wrote && keys[i].Name == "" {
			more.errorf(more.nodes[keys[i].Place].offset, keys[i].Place, `has no "name"`)
		}
		keys[i].Place = name + keys[i].Place
	}
	d.files = more.files
	d.problems = append(d.problems, more.problems...)
	d.errors += more.errors
	d.nodes["keys_file"] = node{offset: n.offset, ok: more.errors == 0}
	cfg.AuthKeys = append(cfg.AuthKeys, keys...)
}

// nameKeys gives every key a unique name, and reports duplicate names and keys.
func (d *decoder) nameKeys(cfg *Config) {
	place, owner := map[string]string{}, map[[sha256.Size]byte]string{}
	for i := range cfg.AuthKeys {
		k := &cfg.AuthKeys[i]
		if k.Key.Empty() && k.KeySHA256 == "" {
			continue
		}
		at := d.nodes[k.Place].offset
		if k.Name == "" {
			k.Name = usualKeyName(k)
		}
		if other, taken := owner[k.Hash()]; taken {
			d.errorf(at, k.Place, "is the same key as %s: remove one", other)
			continue
		}
		if other, taken := place[k.Name]; taken {
			d.errorf(at, k.Place, "has the name of %s: reports need a unique name for each key", other)
		}
		place[k.Name], owner[k.Hash()] = k.Place, k.Place
	}
}

// checkPrevious reports former keys that are also current keys. It needs all keys.
func (d *decoder) checkPrevious(cfg *Config) {
	owner := map[[sha256.Size]byte]string{}
	for i := range cfg.AuthKeys {
		owner[cfg.AuthKeys[i].Hash()] = cfg.AuthKeys[i].Place
	}
	for i := range cfg.AuthKeys {
		k := &cfg.AuthKeys[i]
		for _, p := range k.Previous {
			if other, taken := owner[p.Hash()]; taken {
				d.errorf(d.nodes[k.Place].offset, k.Place, `names as "previous" the key of %s: remove one`, other)
			}
			owner[p.Hash()] = k.Place
		}
	}
}

// usualKeyName returns the name of a key without one. It depends on the key alone, in any notation,
// so that no other entry of the list changes it. Logs contain it, so it does not begin like the
// key's hash.
func usualKeyName(k *ClientKey) string {
	hash := k.Hash()
	sum := sha256.Sum256(append([]byte("claude-code-lb name of a client key "), hash[:]...))
	return "key-" + hex.EncodeToString(sum[:])[:10]
}

// checkKey checks one key.
func (d *decoder) checkKey(k *ClientKey) {
	n, ok := d.nodes[k.Place]
	if !ok || !n.ok {
		return
	}
	at := func(name string) string { return k.Place + "." + name }
	switch _, asText := d.wrote(at("key")); {
	case k.Key.Empty() && k.KeySHA256 == "" && d.src.text[n.offset] == '"':
		d.errorf(n.offset, k.Place, "is empty: every client could send it")
	case k.Key.Empty() && k.KeySHA256 == "":
		d.errorf(n.offset, k.Place, `has neither "key" nor "key_sha256"`)
	case !k.Key.Empty() && k.KeySHA256 != "":
		d.errorf(n.offset, k.Place, `has both "key" and "key_sha256": remove one`)
	case asText:
		d.checkHeaderValue(d.nodes[at("key")].offset, at("key"), k.Key)
	case !k.Key.Empty():
		d.checkHeaderValue(n.offset, k.Place, k.Key)
	}
	if h, ok := d.wrote(at("key_sha256")); ok {
		d.checkHash(h.offset, at("key_sha256"), k.KeySHA256)
	}
	if m, ok := d.wrote(at("name")); ok {
		d.checkLabel(m.offset, at("name"), k.Name)
	}
	if m, ok := d.wrote(at("group")); ok {
		d.checkLabel(m.offset, at("group"), k.Group)
	}
	for i, p := range k.Previous {
		here := fmt.Sprintf("%s[%d].", at("previous"), i)
		if h, ok := d.wrote(here + "key_sha256"); ok {
			d.checkHash(h.offset, here+"key_sha256", p.KeySHA256)
		}
		if u, ok := d.wrote(here + "until"); ok {
			if _, err := time.Parse(time.RFC3339, p.Until); err != nil {
				d.errorf(u.offset, here+"until", `%s is not a moment such as "2026-12-31T12:00:00Z"`, u.label())
			}
		}
	}
	d.checkKeyLimits(k, at)
}

func (d *decoder) checkHash(offset int, path, digits string) {
	if sum, err := hex.DecodeString(digits); err != nil || len(sum) != sha256.Size {
		d.errorf(offset, path, `is not a SHA-256 in 64 hexadecimal digits: "claude-code-lb key new" makes one`)
	}
}

func (d *decoder) checkKeyLimits(k *ClientKey, at func(string) string) {
	if n, ok := d.wrote(at("expires")); ok {
		switch end, err := parseExpiry(k.Expires); {
		case k.Expires == "" && d.src.text[n.offset+1] != '"':
			d.errorf(n.offset, at("expires"), "is empty after its variables and files are expanded: the key would never expire")
		case err != nil:
			d.errorf(n.offset, at("expires"), `%s is not a date such as "2026-12-31"`, n.label())
		case !end.IsZero() && end.Before(time.Now()):
			d.warnf(n.offset, at("expires"), "is over: the key is not valid any more")
		}
	}
	for i, pattern := range k.Models {
		here := fmt.Sprintf("%s[%d]", at("models"), i)
		if n, ok := d.wrote(here); ok {
			if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
				d.errorf(n.offset, here, "is not a pattern for names of models")
			}
		}
	}
	for i, s := range k.IPs {
		here := fmt.Sprintf("%s[%d]", at("ips"), i)
		if n, ok := d.wrote(here); ok {
			if _, err := parsePrefix(s); err != nil {
				d.errorf(n.offset, here, `%s is not an address or a network such as "10.0.0.0/8"`, n.label())
			}
		}
	}
	if n, ok := d.wrote(at("budget_usd.time_zone")); ok {
		d.checkZone(n, at("budget_usd.time_zone"), k.Budget.TimeZone)
	}
}

// bare reports whether an entry consists of its shorthand only, so that it is written as a string.
func bare(v reflect.Value, shorthand field) bool {
	plain := reflect.New(v.Type()).Elem()
	setDefaults(plain)
	plain.Field(shorthand.index).Set(v.Field(shorthand.index))
	for _, f := range fieldsOf(v.Type()) {
		if !reflect.DeepEqual(plain.Field(f.index).Interface(), v.Field(f.index).Interface()) {
			return false
		}
	}
	return true
}

// shorthandOf returns the field of a section that a bare string means.
func shorthandOf(t reflect.Type) (field, bool) {
	if t.Kind() != reflect.Struct {
		return field{}, false
	}
	for _, f := range fieldsOf(t) {
		if f.shorthand {
			return f, true
		}
	}
	return field{}, false
}

// shorthand decodes a string that means a whole section. It returns false for an object.
func (d *decoder) shorthand(path string, v hujson.Value, f field, into reflect.Value) bool {
	short, ok := shorthandOf(f.typ)
	if !ok || v.Value.Kind() == '{' {
		return false
	}
	d.text(path, v, short, into.Field(short.index))
	return true
}

package connect

import (
	"bytes"
	"net/url"
	"regexp"
	"strings"

	"github.com/tailscale/hujson"
)

// hidden replaces the text of a value that may be a secret.
const hidden = `"…"`

// secretName matches names of members whose value may be a secret. Values of variables and headers
// are hidden whatever their name is.
var secretName = regexp.MustCompile(`(?i)token|secret|passw|credential|auth|key|cookie|header|args`)

// Redacted returns the content of the file as it may be shown: without values that may be secrets.
// Lines stay where they are.
func (d *Document) Redacted() []byte {
	var parts []span
	d.hide(&parts, d.root, false)
	var out []byte
	at := 0
	for _, p := range parts {
		out = append(append(out, d.text[at:p.start]...), p.with...)
		at = p.end
	}
	return append(append(bytes.Clone(d.mark), out...), d.text[at:]...)
}

// hide collects the strings below v that must not be shown.
func (d *Document) hide(parts *[]span, v hujson.Value, secret bool) {
	switch value := v.Value.(type) {
	case *hujson.Object:
		for _, m := range value.Members {
			name := m.Name.Value.(hujson.Literal).String()
			if text, ok := m.Value.Value.(hujson.Literal); ok && name == BaseURL {
				d.showURL(parts, m.Value, text)
				continue
			}
			d.hide(parts, m.Value, secret || name == "env" || strings.HasSuffix(name, "environmentVariables") || secretName.MatchString(name))
		}
	case *hujson.Array:
		for _, e := range value.Elements {
			d.hide(parts, e, secret)
		}
	case hujson.Literal:
		text := value.String()
		if value.Kind() == '"' && (secret || strings.Contains(text, "sk-") || ShowURL(text) != text) {
			*parts = append(*parts, span{v.StartOffset, v.EndOffset, hidden})
		}
	}
}

func (d *Document) showURL(parts *[]span, v hujson.Value, text hujson.Literal) {
	if shown := ShowURL(text.String()); shown != text.String() {
		*parts = append(*parts, span{v.StartOffset, v.EndOffset, string(hujson.String(shown))})
	}
}

// ShowURL returns a URL as it may be shown: without a password and without a query.
func ShowURL(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return "(a URL that cannot be read)"
	}
	if u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		return s
	}
	if u.User != nil {
		u.User = url.User("…")
	}
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	u.Fragment, u.RawFragment = "", ""
	shown, err := url.PathUnescape(u.String())
	if err != nil {
		return u.String()
	}
	return shown
}

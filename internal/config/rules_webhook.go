package config

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// webhookSecretPrefix marks a key that is written in base64 (Standard Webhooks).
const webhookSecretPrefix = "whsec_"

// checkWebhooks checks addresses and keys. No message contains any part of them.
func (d *decoder) checkWebhooks(cfg *Config) {
	type target struct {
		url    Secret
		format WebhookFormat
	}
	first := map[target]int{}
	for i, w := range cfg.Webhooks {
		path := fmt.Sprintf("webhooks[%d]", i)
		d.checkWebhookURL(w, path+".url")
		d.checkWebhookSecret(w, path+".secret")
		for j, event := range w.Events {
			at := fmt.Sprintf("%s.events[%d]", path, j)
			if n, ok := d.wrote(at); ok && slices.Contains(w.Events[:j], event) {
				d.warnf(n.offset, at, "is written twice: remove one")
			}
		}
		if n, ok := d.wrote(path + ".url"); ok {
			id := target{w.URL, w.Format}
			if other, twin := first[id]; twin {
				d.errorf(n.offset, path+".url", "is the address of webhooks[%d]: write all its events there", other)
				continue
			}
			first[id] = i
		}
	}
}

func (d *decoder) checkWebhookURL(w Webhook, path string) {
	n, ok := d.wrote(path)
	if !ok {
		return
	}
	text := w.URL.Reveal()
	u, err := url.Parse(text)
	switch {
	case text == "":
		d.errorf(n.offset, path, "is empty")
	case strings.ContainsAny(text, " \t\r\n"):
		d.errorf(n.offset, path, "holds a blank or a line break: remove it")
	case err != nil:
		d.errorf(n.offset, path, "is not a URL: %s", reason(err))
	case u.Scheme != "https" && u.Scheme != "http":
		d.errorf(n.offset, path, "must begin with https:// or http://")
	case u.Hostname() == "":
		d.errorf(n.offset, path, "has no host")
	case u.User != nil:
		d.errorf(n.offset, path, "must not hold a user or password")
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		d.warnf(n.offset, path, "sends messages, and the token that it may hold, unencrypted: use https:// if the receiver offers it")
	}
}

func (d *decoder) checkWebhookSecret(w Webhook, path string) {
	n, ok := d.wrote(path)
	if !ok || w.Secret.Empty() {
		return
	}
	encoded, prefixed := strings.CutPrefix(w.Secret.Reveal(), webhookSecretPrefix)
	switch _, err := base64.StdEncoding.DecodeString(encoded); {
	case w.Format == WebhookSlack || w.Format == WebhookWeCom:
		d.warnf(n.offset, path, "is ignored with format %s: the address is the credential", w.Format)
	case w.Format == WebhookJSON && prefixed && (err != nil || encoded == ""):
		d.errorf(n.offset, path, "begins with whsec_, but what follows is not base64")
	}
}

// SigningKey returns the key in Secret for messages of format json, empty without one.
func (w Webhook) SigningKey() []byte {
	text := w.Secret.Reveal()
	if encoded, ok := strings.CutPrefix(text, webhookSecretPrefix); ok {
		if key, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			return key
		}
	}
	return []byte(text)
}

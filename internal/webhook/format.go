package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// maxChatText bounds a message: WeCom accepts 2048 bytes.
const maxChatText = 1900

// request returns the POST that sends an event to a webhook. The id stays the same when a message
// is sent again.
func request(ctx context.Context, w config.Webhook, instance, id string, e Message, now time.Time) (*http.Request, error) {
	body, err := payload(w, instance, e, now)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL.Reveal(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "claude-code-lb")
	switch {
	case w.Format == config.WebhookJSON:
		setSignatureHeaders(r.Header, w, id, body, now)
	case w.Format == config.WebhookDingTalk && !w.Secret.Empty():
		timestamp := strconv.FormatInt(now.UnixMilli(), 10)
		q := r.URL.Query()
		q.Set("timestamp", timestamp)
		q.Set("sign", sign([]byte(w.Secret.Reveal()), timestamp+"\n"+w.Secret.Reveal()))
		r.URL.RawQuery = q.Encode()
	}
	return r, nil
}

// setSignatureHeaders sets the headers of the Standard Webhooks specification: the signature covers
// id, time and body.
func setSignatureHeaders(h http.Header, w config.Webhook, id string, body []byte, now time.Time) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", timestamp)
	if key := w.SigningKey(); len(key) > 0 {
		h.Set("Webhook-Signature", "v1,"+sign(key, id+"."+timestamp+"."+string(body)))
	}
}

// sign returns the HMAC-SHA256 of a text in base64.
func sign(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// payload returns the body of a message in the webhook's format.
func payload(w config.Webhook, instance string, e Message, now time.Time) ([]byte, error) {
	text := chatText(instance, e)
	type content map[string]any
	switch w.Format {
	case config.WebhookSlack:
		// These three are the only markup characters of Slack.
		return json.Marshal(content{"text": strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)})
	case config.WebhookFeishu:
		message := content{"msg_type": "text", "content": content{"text": text}}
		if !w.Secret.Empty() { // Feishu uses the signed text as the key and signs an empty text
			timestamp := strconv.FormatInt(now.Unix(), 10)
			message["timestamp"], message["sign"] = timestamp, sign([]byte(timestamp+"\n"+w.Secret.Reveal()), "")
		}
		return json.Marshal(message)
	case config.WebhookDingTalk:
		return json.Marshal(content{"msgtype": "text", "text": content{"content": text}})
	case config.WebhookWeCom:
		return json.Marshal(content{"msgtype": "text", "text": content{"content": text}})
	default:
		data := content{}
		for _, f := range e.Facts {
			data[f.Name] = f.Value
		}
		data["text"], data["instance"] = e.Text, instance
		if e.Repeated > 0 {
			data["repeated"], data["since"] = e.Repeated, e.Since.UTC().Format(time.RFC3339)
		}
		return json.Marshal(content{"type": e.Name, "timestamp": e.Time.UTC().Format(time.RFC3339), "data": data})
	}
}

// chatText returns a message for people: the sentence, then one fact per line.
func chatText(instance string, e Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[claude-code-lb %s] %s", instance, e.Text)
	if e.Repeated > 0 {
		fmt.Fprintf(&b, " (%d more like it since %s)", e.Repeated, e.Since.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "\ntime: %s", e.Time.UTC().Format(time.RFC3339))
	for _, f := range e.Facts {
		fmt.Fprintf(&b, "\n%s: %s", f.Name, telemetry.OneLine(fmt.Sprint(f.Value)))
	}
	text := b.String()
	if len(text) > maxChatText {
		text = strings.ToValidUTF8(text[:maxChatText], "") + "…"
	}
	return text
}

// secretsOf returns the texts of a webhook that must not be visible: its key, its address, and
// parts of the address.
func secretsOf(w config.Webhook) []string {
	secrets := []string{w.URL.Reveal(), w.Secret.Reveal()}
	u, err := url.Parse(w.URL.Reveal())
	if err != nil {
		return secrets
	}
	const minSecret = 8 // bytes; shorter parts are words such as "hook"
	for _, part := range append(strings.Split(u.Path, "/"), strings.FieldsFunc(u.RawQuery, func(r rune) bool { return r == '&' || r == '=' })...) {
		if len(part) >= minSecret {
			secrets = append(secrets, part)
		}
	}
	return secrets
}

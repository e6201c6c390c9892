package webhook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	sendTimeout   = 10 * time.Second
	maxReplyBytes = 16 << 10
	maxRedirects  = 3
	maxRetryAfter = 5 * time.Minute
)

// deliveryError is the error of a message that the receiver did not accept. Its text contains
// nothing of the address beyond the host.
type deliveryError struct {
	reason     string
	retriable  bool          // another try may succeed
	retryAfter time.Duration // the receiver asked to wait, 0 if it did not
}

// Error implements error.
func (u *deliveryError) Error() string { return u.reason }

// sender posts messages. Safe for concurrent use.
type sender struct {
	client   *http.Client
	instance string // part of every message
}

func newSender(instance string, transport http.RoundTripper) *sender {
	return &sender{instance: instance, client: &http.Client{Timeout: sendTimeout, Transport: transport, CheckRedirect: sameHost}}
}

// sameHost allows only redirects that repeat the POST to the same host, because other hosts must
// not get the message.
func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	if r.Method != http.MethodPost || r.URL.Host != first.Host || r.URL.Scheme != first.Scheme || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

func newMessageID() string { return "msg_" + rand.Text() }

// send posts a message once.
func (s *sender) send(ctx context.Context, w config.Webhook, id string, e Message) *deliveryError {
	r, err := request(ctx, w, s.instance, id, e, time.Now())
	if err != nil {
		return &deliveryError{reason: "the message cannot be encoded"} // the error quotes the address
	}
	res, err := s.client.Do(r)
	if err != nil {
		return &deliveryError{reason: redact(w, cause(err)), retriable: true}
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(res.Body, maxReplyBytes))
	switch status := res.StatusCode; {
	case status < 200 || status > 299:
		again := status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= http.StatusInternalServerError
		return &deliveryError{reason: fmt.Sprintf("status %d", status), retriable: again, retryAfter: retryAfter(res.Header, time.Now())}
	case err != nil:
		return nil // accepted
	default:
		return refusal(w, reply)
	}
}

// cause returns the client's error without the address that url.Error quotes.
func cause(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		if e.Timeout() {
			return "no response in time"
		}
		err = e.Err
	}
	return err.Error()
}

// redact returns a text without the webhook's secrets.
func redact(w config.Webhook, text string) string {
	return telemetry.Clip(telemetry.OneLine(telemetry.NewRedactor(secretsOf(w)).Text(text)))
}

// refusal returns the failure that Feishu, DingTalk and WeCom report in a response with status 200.
func refusal(w config.Webhook, reply []byte) *deliveryError {
	if w.Format == config.WebhookJSON || w.Format == config.WebhookSlack {
		return nil
	}
	var body struct {
		Code    int    `json:"code"`
		Msg     string `json:"msg"`
		ErrCode int    `json:"errcode"`
		ErrMsg  string `json:"errmsg"`
	}
	if err := json.Unmarshal(reply, &body); err != nil || body.Code == 0 && body.ErrCode == 0 {
		return nil
	}
	code, text := body.Code+body.ErrCode, body.Msg+body.ErrMsg
	again := false
	switch code {
	case -1, // busy (DingTalk, WeCom)
		11232, 11233, // too many messages (Feishu)
		130101, // too many messages (DingTalk)
		45009:  // too many messages (WeCom)
		again = true
	}
	return &deliveryError{reason: redact(w, fmt.Sprintf("code %d: %s", code, text)), retriable: again}
}

// retryAfter returns the wait that the receiver asks for, at most maxRetryAfter.
func retryAfter(h http.Header, now time.Time) time.Duration {
	wait, _ := claude.RetryAfter(h, now)
	return min(wait, maxRetryAfter)
}

// Test sends a test message to a webhook, once. The error contains nothing of the address beyond
// the host.
func Test(ctx context.Context, w config.Webhook, instance string) error {
	e := Message{Name: "test", Time: time.Now(), Text: "This is a test: events of claude-code-lb arrive here."}
	if failed := newSender(instance, http.DefaultTransport).send(ctx, w, newMessageID(), e); failed != nil {
		return failed
	}
	return nil
}

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
	sendLimit     = 10 * time.Second
	maxReply      = 16 << 10
	maxRedirects  = 3
	maxRetryAfter = 5 * time.Minute
)

// undelivered is the error of a message that the receiver did not accept. Its text contains nothing
// of the address beyond the host.
type undelivered struct {
	reason string
	again  bool          // another try may succeed
	after  time.Duration // the receiver asked to wait, 0 if it did not
}

// Error implements error.
func (u *undelivered) Error() string { return u.reason }

// sender posts messages. Safe for concurrent use.
type sender struct {
	client   *http.Client
	instance string // part of every message
}

func newSender(instance string, transport http.RoundTripper) *sender {
	return &sender{instance: instance, client: &http.Client{Timeout: sendLimit, Transport: transport, CheckRedirect: sameHost}}
}

// sameHost allows redirects within one host, with the body, because other hosts must not get the
// message.
func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	if r.Method != http.MethodPost || r.URL.Host != first.Host || r.URL.Scheme != first.Scheme || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

func newMessageID() string { return "msg_" + rand.Text() }

// send posts a message once.
func (s *sender) send(ctx context.Context, w config.Webhook, id string, e Message) *undelivered {
	r, err := request(ctx, w, s.instance, id, e, time.Now())
	if err != nil {
		return &undelivered{reason: "the message cannot be made"} // the error quotes the address
	}
	res, err := s.client.Do(r)
	if err != nil {
		return &undelivered{reason: hidden(w, cause(err)), again: true}
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	switch status := res.StatusCode; {
	case status < 200 || status > 299:
		again := status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= http.StatusInternalServerError
		return &undelivered{reason: fmt.Sprintf("status %d", status), again: again, after: retryAfter(res.Header, time.Now())}
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
			return "no answer in time"
		}
		err = e.Err
	}
	return err.Error()
}

// hidden returns a text without the webhook's secrets.
func hidden(w config.Webhook, text string) string {
	return telemetry.Clip(telemetry.OneLine(telemetry.NewRedactor(secretsOf(w)).Text(text)))
}

// refusal returns the failure that Feishu, DingTalk and WeCom report in a response with status 200.
func refusal(w config.Webhook, reply []byte) *undelivered {
	if w.Format == config.WebhookJSON || w.Format == config.WebhookSlack {
		return nil
	}
	var said struct {
		Code    int    `json:"code"`
		Msg     string `json:"msg"`
		ErrCode int    `json:"errcode"`
		ErrMsg  string `json:"errmsg"`
	}
	if err := json.Unmarshal(reply, &said); err != nil || said.Code == 0 && said.ErrCode == 0 {
		return nil
	}
	code, text := said.Code+said.ErrCode, said.Msg+said.ErrMsg
	again := false
	switch code {
	case -1, // busy (DingTalk, WeCom)
		11232, 11233, // too many messages (Feishu)
		130101, // too many messages (DingTalk)
		45009:  // too many messages (WeCom)
		again = true
	}
	return &undelivered{reason: hidden(w, fmt.Sprintf("code %d: %s", code, text)), again: again}
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

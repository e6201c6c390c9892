package webhook

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

const (
	signingKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	address    = "https://hooks.example/services/T00000000/B00000000/token-token-token?access_token=abcdefghijkl"
)

// sample returns an event with every kind of value.
func sample() Message {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return Message{
		Name: config.EventServerOut, Time: at, Text: "Server a & b is out for 1m0s: status 529 <overloaded>.", Subject: "a & b",
		Facts:    []Fact{{"server", "a & b"}, {"reason", "status 529\n<overloaded>"}, {"cooldown", 60.0}, {"failures", int64(3)}},
		Repeated: 2, Since: at.Add(-time.Minute),
	}
}

var update = flag.Bool("update", false, "write the files in testdata instead of comparing with them")

func TestPayloads(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 8, 0, time.UTC)
	for _, format := range []config.WebhookFormat{config.WebhookJSON, config.WebhookSlack, config.WebhookFeishu, config.WebhookDingTalk, config.WebhookWeCom} {
		w := config.Webhook{URL: config.NewSecret(address), Format: format, Secret: config.NewSecret(signingKey)}
		r, err := request(t.Context(), w, "host-1", "msg_1", sample(), now)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		got.WriteString("POST " + r.URL.String() + "\n")
		if err := r.Header.Write(&got); err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("\n")
		if err := json.Indent(&got, body, "", "  "); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(got.String(), "\r\n", "\n") + "\n"
		golden(t, string(format)+".txt", text)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("%s is not current, run with -update:\n%s", file, got)
	}
}

func TestChatTextIsBounded(t *testing.T) {
	e := sample()
	e.Facts = append(e.Facts, Fact{"reason", strings.Repeat("ä", 3000)})
	if text := chatText("h", e); len(text) > 2048 || strings.Contains(text, "\ufffd") {
		t.Errorf("%d bytes", len(text))
	}
}

// TestSend sends each format to a real server, which checks it as a receiver would.
func TestSend(t *testing.T) {
	f := func(format config.WebhookFormat, check func(*http.Request, []byte) string, status int, reply, want string, retriable bool) {
		t.Helper()
		complaint := ""
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || !json.Valid(body) || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
				complaint = "not a POST of JSON"
			} else if check != nil {
				complaint = check(r, body)
			}
			w.WriteHeader(status)
			io.WriteString(w, reply)
		}))
		defer s.Close()
		w := config.Webhook{URL: config.NewSecret(s.URL + "/hook/token-token-token?key=qwertyuiop"), Format: format, Secret: config.NewSecret(signingKey)}
		failed := newSender("host-1", http.DefaultTransport).send(t.Context(), w, "msg_1", sample())
		got := ""
		if failed != nil {
			got = failed.reason
			if failed.retriable != retriable {
				t.Errorf("%s %s: retriable is %t", format, reply, failed.retriable)
			}
		}
		if got != want || complaint != "" {
			t.Errorf("%s %d %s: %q, want %q; %s", format, status, reply, got, want, complaint)
		}
	}
	f(config.WebhookJSON, verifyStandard, 204, "", "", false)
	f(config.WebhookJSON, nil, 200, `{"code":1}`, "", false)
	f(config.WebhookSlack, nil, 200, "ok", "", false)
	f(config.WebhookSlack, nil, 404, "no_service", "status 404", false)
	f(config.WebhookFeishu, verifyFeishu, 200, `{"code":0,"msg":"success","data":{}}`, "", false)
	f(config.WebhookFeishu, verifyFeishu, 200, `{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time"}`,
		"code 19021: sign match fail or timestamp is not within one hour from current time", false)
	f(config.WebhookFeishu, verifyFeishu, 200, `{"code":11232,"msg":"frequency limited"}`, "code 11232: frequency limited", true)
	f(config.WebhookDingTalk, verifyDingTalk, 200, `{"errcode":0,"errmsg":"ok"}`, "", false)
	f(config.WebhookDingTalk, verifyDingTalk, 200, `{"errcode":130101,"errmsg":"send too fast"}`, "code 130101: send too fast", true)
	f(config.WebhookWeCom, nil, 200, `{"errcode":0,"errmsg":"ok"}`, "", false)
	f(config.WebhookWeCom, nil, 200, `{"errcode":93000,"errmsg":"invalid webhook url with qwertyuiop\nand token-token-token"}`, "code 93000: invalid webhook url with [redacted] and [redacted]", false)
	f(config.WebhookWeCom, nil, 200, `{"errcode":45009}`, "code 45009: ", true)
	f(config.WebhookWeCom, nil, 500, "", "status 500", true)
}

// verifyStandard verifies the signature with the library of Standard Webhooks. It
// returns what is wrong, "" if nothing is.
func verifyStandard(r *http.Request, body []byte) string {
	key, err := standardwebhooks.NewWebhook(signingKey)
	if err == nil {
		err = key.Verify(body, r.Header)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// verifyFeishu verifies the signature in the body. It returns what is
// wrong, "" if nothing is.
func verifyFeishu(_ *http.Request, body []byte) string {
	var m struct{ Timestamp, Sign string }
	if err := json.Unmarshal(body, &m); err != nil || m.Sign != sign([]byte(m.Timestamp+"\n"+signingKey), "") || stale(m.Timestamp, time.Second) {
		return "bad sign"
	}
	return ""
}

// verifyDingTalk verifies the signature in the query. It returns what is
// wrong, "" if nothing is.
func verifyDingTalk(r *http.Request, _ []byte) string {
	q := r.URL.Query()
	if q.Get("key") != "qwertyuiop" || q.Get("sign") != sign([]byte(signingKey), q.Get("timestamp")+"\n"+signingKey) || stale(q.Get("timestamp"), time.Millisecond) {
		return "bad sign"
	}
	return ""
}

// stale reports whether a time, in a unit since 1970, is far from now.
func stale(text string, unit time.Duration) bool {
	n, err := strconv.ParseInt(text, 10, 64)
	return err != nil || time.Since(time.Unix(0, n*int64(unit))).Abs() > time.Minute
}

func TestSendWithoutReceiver(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	w := config.Webhook{URL: config.NewSecret(s.URL + "/hook/token-token-token"), Format: config.WebhookSlack}
	failed := newSender("host-1", http.DefaultTransport).send(t.Context(), w, "msg_1", sample())
	if failed == nil || !failed.retriable || strings.Contains(failed.reason, "token") || !strings.Contains(failed.reason, "refused") {
		t.Errorf("%+v", failed)
	}
	if err := Test(t.Context(), w, "host-1"); err == nil || strings.Contains(err.Error(), "token") {
		t.Errorf("%v", err)
	}
}

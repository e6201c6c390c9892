package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// TestNoSecretInTheLog sends every kind of credential through a balancer with debug logging, and
// searches for them in the log.
func TestNoSecretInTheLog(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		for _, auth := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/auth=%t", format, auth), func(t *testing.T) {
				t.Parallel()
				testSecrets(t, format, auth)
			})
		}
	}
}

func testSecrets(t *testing.T, format string, auth bool) {
	const inCommand, unknownKey, ownKey = "sk-balance-command-credential", "sk-wrong-client-credential", "sk-ant-api03-passed-through-credential"
	first, open := newFakeWithKey(t, "first", "relay-token-"+format), newFake(t, "open", anyCredential)
	// An upstream that quotes the credential in its error, and one that breaks off.
	quoting := status(401)
	quoting.Body = fmt.Sprintf(`{"type":"error","error":{"type":"authentication_error","message":"invalid key %s"}}`, first.token)
	first.Script(quoting, fault.Fault{}, fault.Fault{Kind: fault.Close, At: fault.AtMidText})
	servers := []object{
		first.entry().with("balance_check", "echo 5 # "+inCommand),
		{"name": "open", "url": open.url},
	}
	b := start(t, guarded(servers...).with("auth", auth).with("debug", true).with("log_format", format).with("cooldown", "100ms").with("listen", freeAddress(t)))
	for i := range 8 {
		key := []string{clientKey, ownKey, unknownKey}[i%3]
		b.ask(i%2 == 0, "X-Api-Key", key)
		b.ask(i%2 == 1, "Authorization", "Bearer "+key)
		b.do("POST", "/v1/messages/count_tokens", strings.Replace(message(false), "hello there", "my key is "+first.token, 1), "X-Api-Key", key)
	}
	b.reconfigure(guarded(servers...).with("auth", auth).with("debug", true).with("log_format", format).with("listen", strings.TrimPrefix(b.url, "http://")))
	for _, secret := range []string{first.token, clientKey, "sk-another-client-key", inCommand, unknownKey, ownKey} {
		if at := strings.Index(b.log.String(), secret); at >= 0 {
			text := b.log.String()
			t.Errorf("%s is in the log: …%s", secret, text[max(0, at-300):at+len(secret)])
		}
	}
	for _, want := range []string{"hello there", "message_stop", "debug: upstream request"} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the debug log does not have %q", want)
		}
	}
}

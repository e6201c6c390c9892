package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// Faults of a simulated upstream that last until the test calls release.
var (
	heldBeforeHead = fault.Fault{Kind: fault.Stall, At: fault.AtStart, Delay: held}
	heldMidText    = fault.Fault{Kind: fault.Slow, At: fault.AtMidText, Delay: held}
)

// held is the delay that heldClock treats as "until released".
const held = fakeclaude.Duration(time.Hour)

// heldClock is the machine's clock, except that a long sleep ends when the test calls release.
type heldClock struct {
	once     sync.Once
	released chan struct{}
}

func (c *heldClock) Now() time.Time { return time.Now() }

func (c *heldClock) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	var short <-chan time.Time
	if d < time.Duration(held) {
		short = time.After(d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.released:
		return nil
	case <-short:
		return nil
	}
}

// fake is a simulated upstream with a real listener. It accepts only its token.
type fake struct {
	*fakeclaude.Server
	name, url, token string
	clock            *heldClock
}

// newFake starts an upstream with a name.
func newFake(t *testing.T, name string, adjust ...func(*fakeclaude.Options)) *fake {
	t.Helper()
	f := &fake{name: name, token: "sk-ant-api03-" + name + "-upstream-token", clock: &heldClock{released: make(chan struct{})}}
	o := fakeclaude.Options{Name: name, Clock: f.clock, Keys: []string{f.token}}
	o.PingInterval = 2 * held
	for _, a := range adjust {
		a(&o)
	}
	f.Server = fakeclaude.New(o)
	server := httptest.NewServer(f)
	f.url = server.URL
	t.Cleanup(func() {
		f.release()
		f.Close()
		server.CloseClientConnections()
		server.Close()
	})
	return f
}

func newFakes(t *testing.T, names ...string) []*fake {
	t.Helper()
	var fakes []*fake
	for _, name := range names {
		fakes = append(fakes, newFake(t, name))
	}
	return fakes
}

// anyCredential makes an upstream accept every credential.
func anyCredential(o *fakeclaude.Options) { o.Keys = nil }

// ServeHTTP adds the balances of the example configurations to the simulated API, and serves it
// below any path.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/balance":
		fmt.Fprintln(w, "42.5")
	case "/v1/account/balance":
		fmt.Fprintln(w, `{"balance": 17}`)
	default:
		prefix := r.URL.Path[:max(strings.Index(r.URL.Path, "/v1/"), 0)]
		http.StripPrefix(prefix, f.Server).ServeHTTP(w, r)
	}
}

// release ends all held sleeps, now and later.
func (f *fake) release() { f.clock.once.Do(func() { close(f.clock.released) }) }

// fails makes every request fail from now on; without a fault none does.
func (f *fake) fails(faults ...fault.Fault) {
	var rules []fault.Rule
	for _, injected := range faults {
		rules = append(rules, fault.Rule{Fault: injected})
	}
	f.SetFaults(rules...)
}

// entry returns the upstream's entry in a configuration.
func (f *fake) entry() object { return object{"name": f.name, "url": f.url, "token": f.token} }

// count returns the number of requests so far.
func (f *fake) count() int { return int(f.Stats().Requests) }

// served reports whether a response came from this upstream.
func (f *fake) served(a answer) bool {
	return a.header.Get("Anthropic-Organization-Id") == f.Account().Organization()
}

// only returns the single request that arrived.
func (f *fake) only(t *testing.T) fakeclaude.RecordedRequest {
	t.Helper()
	seen := f.Requests()
	if len(seen) != 1 {
		t.Fatalf("%d requests arrived at %s, want 1", len(seen), f.name)
	}
	return seen[0]
}

// carries returns where in a request a text is, "" if it is absent.
func carries(seen fakeclaude.RecordedRequest, text string) string {
	for name, values := range seen.Header {
		if strings.Contains(strings.Join(values, "\n"), text) {
			return "header " + name
		}
	}
	if strings.Contains(seen.RequestURI, text) {
		return "URL"
	}
	return ""
}

// status returns a fault with a status.
func status(code int, header ...string) fault.Fault {
	f := fault.Fault{Kind: fault.Status, Status: code, Bare: true}
	for i := 0; i+1 < len(header); i += 2 {
		if f.Headers == nil {
			f.Headers = map[string]string{}
		}
		f.Headers[header[i]] = header[i+1]
	}
	return f
}

// freeAddress returns a loopback address without a listener.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// deadEntry returns an upstream that refuses connections.
func deadEntry(t *testing.T) object {
	t.Helper()
	l := listenForGood(t) // below the ports that the system assigns to other tests
	l.Close()
	return object{"name": "dead", "url": "http://" + l.Addr().String(), "token": "sk-dead"}
}

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// TestKeptConnectionThatEnds checks that a request is sent again over a new connection if its
// upstream closes the kept one. That starts no cooldown: the second server gets no request.
func TestKeptConnectionThatEnds(t *testing.T) {
	t.Parallel()
	up, other := newFake(t, "a"), newFake(t, "b")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var ended atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				if r, err := http.ReadRequest(in); err != nil || forward(c, r, up.url) != nil {
					return
				}
				if _, err := in.ReadByte(); err == nil {
					ended.Add(1)
					_ = c.(*net.TCPConn).SetLinger(0) // with a reset
				}
			}()
		}
	}()
	b := start(t, fallback(up.entry().with("url", "http://"+l.Addr().String()), other.entry()))
	for range 5 {
		b.mustServe(true, up)
		b.mustServe(false, up)
	}
	if ended.Load() == 0 {
		t.Error("no kept connection was used")
	}
	if n := other.count(); n != 0 {
		t.Errorf("%d requests at the second server", n)
	}
}

// forward forwards a request, and its response after any number of interim ones.
func forward(c net.Conn, r *http.Request, to string) error {
	out, err := http.NewRequest(r.Method, to+r.URL.RequestURI(), r.Body)
	if err != nil {
		return err
	}
	out.Header = r.Header
	res, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.WriteString(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n", 20)); err != nil {
		return err
	}
	return res.Write(c)
}

const wholeStream = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"usage":{"input_tokens":5,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":3}}

event: message_stop
data: {"type":"message_stop"}

`

// TestLoops checks that a request which comes back through a second balancer is refused, and one
// that passes two balancers is not.
func TestLoops(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	second := start(t, fallback(object{"name": "first", "url": "http://" + address, "token": "t"}))
	first := start(t, fallback(object{"name": "second", "url": second.url, "token": "t"}).with("listen", address))
	for _, stream := range []bool{true, false} {
		a := first.ask(stream)
		if e := a.failure(t, http.StatusLoopDetected, "api_error"); a.header.Get("X-Should-Retry") != "false" || !strings.Contains(e.Message, "leads back here") {
			t.Errorf("%v %s", a.header, e.Message)
		}
	}
	first.awaitRecords()
	second.awaitRecords()
	if n := strings.Count(first.log.String()+second.log.String(), `"msg":"request"`); n > 30 {
		t.Errorf("%d requests of two", n)
	}
	up := newFake(t, "up")
	inner := start(t, fallback(up.entry()))
	start(t, fallback(object{"name": "inner", "url": inner.url, "token": "t"})).mustServe(true, up)
	if marks := strings.Split(up.only(t).Header.Get("X-Lb-Loop"), ", "); len(marks) != 2 || marks[0] == marks[1] {
		t.Errorf("marks %q", marks)
	}
	r := run(t, invocation{args: []string{"check", "-c", first.file}})
	if r.status != 0 {
		t.Errorf("check: %d %s", r.status, r.stderr)
	}
	own := fallback(object{"name": "self", "url": "http://localhost:" + address[strings.LastIndexByte(address, ':')+1:], "token": "t"}).with("listen", address)
	writeConfig(t, first.file, own)
	if r := run(t, invocation{args: []string{"check", "-c", first.file}}); r.status != 1 || !strings.Contains(r.stderr, "servers[0].url: error: is the balancer's own address") {
		t.Errorf("check: %d %s", r.status, r.stderr)
	}
	first.waitLog("configuration not reloaded; the previous one stays active", nil)
}

// TestPagesAndFrontProxies checks that the balancer responds to preflights itself, and forwards no
// headers of a front proxy.
func TestPagesAndFrontProxies(t *testing.T) {
	t.Parallel()
	up := newFake(t, "a")
	b := start(t, fallback(up.entry()).with("cors_origins", []string{"https://chat.example"}))
	pre := b.do("OPTIONS", "/v1/messages", "", "Origin", "https://chat.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-api-key")
	if pre.status != http.StatusNoContent || pre.header.Get("Access-Control-Allow-Origin") != "https://chat.example" || pre.header.Get("Access-Control-Allow-Headers") != "x-api-key" {
		t.Errorf("preflight: %d %v", pre.status, pre.header)
	}
	if a := b.ask(false, "Origin", "https://evil.example"); a.status != http.StatusForbidden {
		t.Errorf("a page that is not listed: %d", a.status)
	}
	if n := up.count(); n != 0 {
		t.Errorf("%d requests went upstream", n)
	}
	a := b.ask(true, "Origin", "https://chat.example", "Cf-Connecting-Ip", "203.0.113.7", "X-Forwarded-For", "203.0.113.7", "Cookie", "a=b", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if problem := a.flaw(true); problem != "" || a.header.Get("Access-Control-Allow-Origin") != "https://chat.example" {
		t.Errorf("%s %v", problem, a.header)
	}
	seen := up.only(t).Header
	for _, name := range []string{"Origin", "Cf-Connecting-Ip", "X-Forwarded-For", "Cookie"} {
		if seen[name] != nil {
			t.Errorf("%s went upstream", name)
		}
	}
	if seen.Get("Traceparent") == "" {
		t.Error("traceparent did not go upstream")
	}
}

// TestAddressInUse checks that a second instance names the process that has the address before it
// opens anything.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	up := newFake(t, "a")
	first := start(t, fallback(up.entry()))
	address := strings.TrimPrefix(first.url, "http://")
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, fallback(up.entry()).with("listen", address))
	r := run(t, invocation{args: []string{"-c", file}})
	if r.status != 1 || !strings.Contains(r.stderr, "another claude-code-lb") || !strings.Contains(r.stderr, `or write another address in \"listen\"`) {
		t.Errorf("status %d: %s", r.status, r.stderr)
	}
	if runtime.GOOS == "linux" && !strings.Contains(r.stderr, fmt.Sprintf("pid %d)", first.cmd.Process.Pid)) {
		t.Errorf("without the pid: %s", r.stderr)
	}
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); err != nil || len(names) != 1 {
		t.Errorf("it has left %q", names)
	}
}

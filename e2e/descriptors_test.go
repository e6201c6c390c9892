package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// startWithin runs the program under limits that a shell sets.
func startWithin(t *testing.T, limits string, cfg object) *balancer {
	t.Helper()
	unixOnly(t, "there is no ulimit")
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, cfg)
	return startCommand(t, exec.Command("sh", "-c", limits+` && exec "$0" -c "$1"`, binary, file), file)
}

// TestDescriptorsAreReported checks the report, and that the limit is raised to the hard limit.
func TestDescriptorsAreReported(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	report := func(limits, msg string, least, most float64) {
		t.Helper()
		l := startWithin(t, limits, balanced("round_robin", f.entry())).waitLog(msg, nil)
		if n := l.number("limit"); n < least || n > most || l.number("streams") != float64(int((n-32)/2)) {
			t.Errorf("%s: %v", limits, l)
		}
	}
	const few = "few file descriptors: raise the limit (ulimit -n, LimitNOFILE of systemd, ulimits of Docker)"
	report("ulimit -Sn 256 && ulimit -Hn 5000", "file descriptors", 4999, 5000) // the runtime keeps one below the limit
	report("ulimit -n 300", few, 300, 300)
}

// TestNoDescriptorsLeft opens more connections than there are descriptors: streams continue, other
// clients get an error with the reason, no server is blamed, and afterwards everything is as
// before.
func TestNoDescriptorsLeft(t *testing.T) {
	t.Parallel()
	const limit, streams, asking, flood = 64, 4, 8, 200
	fakes := newFakes(t, "a", "b")
	for _, f := range fakes {
		f.fails(heldMidText)
	}
	b := startWithin(t, fmt.Sprint("ulimit -n ", limit), balanced("round_robin", fakes[0].entry(), fakes[1].entry()).with("max_wait", 0))
	var open []*openStream
	for range streams {
		open = append(open, b.open(t))
	}
	for _, f := range fakes {
		f.fails()
	}
	address := strings.TrimPrefix(b.url, "http://")
	dial := func(text string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprint(c, text)
		return c
	}
	body := message(false)
	head := fmt.Sprintf("POST /v1/messages HTTP/1.1\r\nHost: lb\r\nAnthropic-Version: 2023-06-01\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	var begun, silent []net.Conn
	for range asking {
		begun = append(begun, dial(head))
	}
	for range flood {
		silent = append(silent, dial(""))
	}
	b.waitLog("no file descriptors left", about("needed_to", "accept"))
	refused := 0
	for _, c := range begun {
		fmt.Fprint(c, "\r\n"+body)
	}
	for _, c := range begun {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		a := read(res)
		if a.status == http.StatusOK { // another client has released its descriptor
			continue
		}
		refused++
		if e := a.failure(t, 503, claude.ErrAPI); !strings.Contains(e.Message, "no file descriptors left") || !res.Close || a.header.Get("Retry-After") == "" {
			t.Errorf("%s, header %v", e.Message, a.header)
		}
	}
	if refused == 0 {
		t.Error("no client was refused: the test proves nothing")
	}
	for _, c := range silent {
		c.Close()
	}
	for _, f := range fakes {
		f.release()
	}
	for _, s := range open {
		s.mustEndWhole()
	}
	b.client.CloseIdleConnections() // a new connection is accepted after all those of the crowd
	eventually(t, "the crowd has left", func() bool { return b.ask(false).status == http.StatusOK })
	for i := range 10 {
		b.mustServe(i%2 == 0)
	}
	b.awaitRecords()
	if n := b.metrics()["process_open_fds"]; n <= 0 || n > limit/2 {
		t.Errorf("%v descriptors are open", n)
	}
	if n := b.available(); n != len(fakes) {
		t.Errorf("%d servers are available", n)
	}
	for msg, most := range map[string]int{"server out": 0, "configuration reloaded": 0, "configuration not reloaded; the previous one stays active": 0, "no file descriptors left": 2} {
		if n := b.log.count(msg); n > most {
			t.Errorf("%q is logged %d times", msg, n)
		}
	}
	t.Logf("%d of %d were refused", refused, asking)
}

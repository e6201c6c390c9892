package demo

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// demoBacklog is how many lines may wait for a slow terminal before some are left out.
const demoBacklog = 4096

const demoRow = "%-8s  %-8s  %-6s  %-6s  %6s  %11s  %9s  %10s  %10s"

// demoView shows what happens, line by line, and sums it up at the end. It is a
// proxy.Recorder that waits for nobody: one goroutine writes, and a line that
// finds the way to it full is left out. Safe for concurrent use.
type demoView struct {
	out   io.Writer
	paint demoPaint
	lines chan string
	quit  chan struct{}
	write sync.WaitGroup

	mu       sync.Mutex
	names    []string // of the upstreams
	turns    map[string]demoTurn
	tally    *demoTally
	forgiven time.Time // what ends later was cut by the end of the demo; zero while it runs
	leftOut  int
}

// demoTurn counts the requests of a session.
type demoTurn struct {
	session string
	n       int
}

func newDemoView(std service.Std) *demoView {
	return &demoView{
		out: std.Out, paint: newDemoPaint(std), lines: make(chan string, demoBacklog), quit: make(chan struct{}),
		turns: map[string]demoTurn{}, tally: newDemoTally(time.Now()),
	}
}

// open says what this is and how to join in, and begins to show lines.
func (v *demoView) open(base string, upstreams []demoUpstream) {
	for _, u := range upstreams {
		v.names = append(v.names, u.name)
	}
	fmt.Fprintf(v.out, `The balancer is at %s, in front of %d simulated upstreams: %s.
All answers are simulated: they cost nothing and mean nothing. A real Claude Code can join in:

  export ANTHROPIC_BASE_URL=%s
  export ANTHROPIC_AUTH_TOKEN=demo

`, base, len(v.names), strings.Join(v.names, ", "), base)
	header := fmt.Sprintf(demoRow+"  attempts", "time", "session", "kind", "answer", "status", "first token", "tokens in", "tokens out", "cache read")
	fmt.Fprintln(v.out, v.paint.in(demoBold, header))
	v.write.Go(v.writeLines)
}

func (v *demoView) writeLines() {
	for {
		select {
		case line := <-v.lines:
			fmt.Fprintln(v.out, line)
		case <-v.quit:
			for {
				select {
				case line := <-v.lines:
					fmt.Fprintln(v.out, line)
				default:
					return
				}
			}
		}
	}
}

// close shows what is left to show, and the sums. It is called once, after open.
func (v *demoView) close() {
	close(v.quit)
	v.write.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.leftOut > 0 {
		fmt.Fprintf(v.out, "(%d lines were left out: the terminal was too slow)\n", v.leftOut)
	}
	v.tally.summarize(v.out, v.names, v.paint, time.Now())
}

// show hands a line over. The caller holds the lock.
func (v *demoView) show(line string) {
	select {
	case v.lines <- line:
	default:
		v.leftOut++
	}
}

// note shows an announcement.
func (v *demoView) note(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.show(v.paint.in(demoCyan, clock(time.Now())+"  ── "+text))
}

// failed counts and shows a request that one of the demo's clients takes for failed.
func (v *demoView) failed(session string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tally.failures++
	v.show(v.paint.in(demoRed, clock(time.Now())+"  "+who(session)+" FAILED: "+err.Error()))
}

// failures is the number of client requests that failed.
func (v *demoView) failures() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tally.failures
}

// forgiveAfter says from when on a broken answer is the doing of the demo's own end.
func (v *demoView) forgiveAfter(limit time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forgiven = limit
}

// Record counts and shows a request. The demo's own clients say for themselves
// when one failed, since they see what really arrived; for guests the entry says it.
func (v *demoView) Record(e ledger.Entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tally.add(e)
	broken := e.Outcome == ledger.Failed || e.Outcome == ledger.Truncated
	cut := !v.forgiven.IsZero() && e.Start.Add(e.Duration).After(v.forgiven)
	if _, ours := demoSession(e.Session); broken && !cut && !ours {
		v.tally.failures++
	}
	v.show(v.line(e))
}

// line is the row of one request.
func (v *demoView) line(e ledger.Entry) string {
	name := who(e.Session)
	turn := v.turns[name]
	if turn.session != e.Session {
		turn = demoTurn{session: e.Session}
	}
	turn.n++
	v.turns[name] = turn

	answered, status := "-", "left"
	if e.Outcome == ledger.Answered || e.Outcome == ledger.Truncated {
		answered = e.Server()
	}
	if e.Status != 0 {
		status = strconv.Itoa(e.Status)
	}
	use := e.Usage()
	row := fmt.Sprintf(demoRow, clock(e.Start.Add(e.Duration)), fmt.Sprintf("%s/%d", name, turn.n), kindOfRequest(e), answered, status,
		milliseconds(e.TimeToFirstByte), tokens(use.TotalInputTokens()), tokens(use.OutputTokens), tokens(use.CacheReadTokens))
	switch {
	case e.Outcome == ledger.Failed || e.Outcome == ledger.Truncated:
		return v.paint.in(demoRed, row+"  "+attemptsOf(e))
	case len(e.Attempts) > 1:
		return row + "  " + v.paint.in(demoYellow, attemptsOf(e))
	default:
		return row
	}
}

// who names the sender of a request.
func who(session string) string {
	if number, ok := demoSession(session); ok {
		return "s" + strconv.Itoa(number)
	}
	return "guest"
}

func kindOfRequest(e ledger.Entry) string {
	switch {
	case e.Stream:
		return "stream"
	case strings.HasSuffix(e.Path, "/count_tokens"):
		return "count"
	case e.Method == http.MethodPost && e.Path == claude.MessagesPath:
		return "plain"
	default:
		return fmt.Sprintf("%.6s", path.Base(e.Path))
	}
}

// attemptsOf is the way of a request from upstream to upstream.
func attemptsOf(e ledger.Entry) string {
	var way []string
	for _, a := range e.Attempts {
		switch {
		case a.Reason == "":
			way = append(way, a.Server)
		case a.Status >= http.StatusBadRequest:
			way = append(way, fmt.Sprintf("%s ✗%d", a.Server, a.Status))
		default: // the innermost cause stands last, behind addresses that say little here
			way = append(way, a.Server+" ✗"+strings.TrimSpace(a.Reason[strings.LastIndex(a.Reason, ": ")+1:]))
		}
	}
	return strings.Join(way, " → ")
}

func clock(t time.Time) string { return t.Format(time.TimeOnly) }

func milliseconds(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Millisecond:
		return "<1 ms"
	default:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
}

func tokens(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

// demoPaint colours text, where colours are wanted.
type demoPaint bool

const (
	demoBold   = "\x1b[1m"
	demoRed    = "\x1b[31m"
	demoYellow = "\x1b[33m"
	demoCyan   = "\x1b[36m"
	demoPlain  = "\x1b[0m"
)

// newDemoPaint wants colours on a terminal, unless the environment says otherwise.
func newDemoPaint(std service.Std) demoPaint {
	f, ok := std.Out.(*os.File)
	noColor, _ := std.Env("NO_COLOR")
	return demoPaint(ok && noColor == "" && runtime.GOOS != "windows" && term.IsTerminal(int(f.Fd())))
}

func (p demoPaint) in(color, text string) string {
	if !p {
		return text
	}
	return color + text + demoPlain
}

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

// maxLines bounds the lines that wait for a slow terminal. Further lines are dropped.
const maxLines = 4096

const rowFormat = "%-8s  %-8s  %-6s  %-6s  %6s  %11s  %9s  %10s  %10s"

// screen prints one line per request, and sums at the end. It is a proxy.Recorder that never
// blocks: one goroutine writes, and a line is dropped if the queue is full. Safe for concurrent
// use.
type screen struct {
	out    io.Writer
	paint  paint
	lines  chan string
	quit   chan struct{}
	writer sync.WaitGroup

	mu            sync.Mutex
	names         []string // of the upstreams
	turns         map[string]turnCount
	tally         *tally
	drainDeadline time.Time // the end of the demo cuts responses that last longer; zero while it runs
	dropped       int
}

// turnCount counts the requests of a session.
type turnCount struct {
	session string
	n       int
}

func newScreen(std service.Std) *screen {
	return &screen{
		out: std.Out, paint: newPaint(std), lines: make(chan string, maxLines), quit: make(chan struct{}),
		turns: map[string]turnCount{}, tally: newTally(time.Now()),
	}
}

// open prints what the demo is and how to join it, and begins to print lines.
func (v *screen) open(base string, upstreams []simulatedUpstream) {
	for _, u := range upstreams {
		v.names = append(v.names, u.name)
	}
	fmt.Fprintf(v.out, `The balancer is at %s, in front of %d simulated upstreams: %s.
All responses are simulated: they cost nothing and mean nothing. A real Claude Code can join in:

  export ANTHROPIC_BASE_URL=%s
  export ANTHROPIC_AUTH_TOKEN=demo

`, base, len(v.names), strings.Join(v.names, ", "), base)
	header := fmt.Sprintf(rowFormat+"  attempts", "time", "session", "kind", "server", "status", "first token", "tokens in", "tokens out", "cache read")
	fmt.Fprintln(v.out, v.paint.in(bold, header))
	v.writer.Go(v.writeLines)
}

func (v *screen) writeLines() {
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

// close prints the remaining lines and the sums. It is called once, after open.
func (v *screen) close() {
	close(v.quit)
	v.writer.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dropped > 0 {
		fmt.Fprintf(v.out, "(%d lines dropped: the terminal was too slow)\n", v.dropped)
	}
	v.tally.summarize(v.out, v.names, v.paint, time.Now())
}

// printLocked queues a line.
func (v *screen) printLocked(line string) {
	select {
	case v.lines <- line:
	default:
		v.dropped++
	}
}

// note prints an announcement.
func (v *screen) note(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.printLocked(v.paint.in(cyan, timeOfDay(time.Now())+"  ── "+text))
}

// recordFailure counts and prints a request that failed for one of the demo's clients.
func (v *screen) recordFailure(session string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tally.failures++
	v.printLocked(v.paint.in(red, timeOfDay(time.Now())+"  "+senderName(session)+" FAILED: "+err.Error()))
}

// failures returns the number of client requests that failed.
func (v *screen) failures() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tally.failures
}

// setDrainDeadline sets the time after which the end of the demo cuts responses; they do not count
// as failures.
func (v *screen) setDrainDeadline(limit time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drainDeadline = limit
}

// Record counts and prints a request. The demo's clients report their failures themselves, because
// they see what arrives; for guests the entry decides.
func (v *screen) Record(e ledger.Entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tally.add(e)
	broken := e.Outcome == ledger.Failed || e.Outcome == ledger.Truncated
	cut := !v.drainDeadline.IsZero() && e.Start.Add(e.Duration).After(v.drainDeadline)
	if _, ours := sessionClient(e.Session); broken && !cut && !ours {
		v.tally.failures++
	}
	v.printLocked(v.lineLocked(e))
}

// lineLocked returns the row of one request.
func (v *screen) lineLocked(e ledger.Entry) string {
	name := senderName(e.Session)
	turn := v.turns[name]
	if turn.session != e.Session {
		turn = turnCount{session: e.Session}
	}
	turn.n++
	v.turns[name] = turn

	server, status := "-", "left"
	if e.Outcome == ledger.Answered || e.Outcome == ledger.Truncated {
		server = e.Server()
	}
	if e.Status != 0 {
		status = strconv.Itoa(e.Status)
	}
	use := e.Usage()
	row := fmt.Sprintf(rowFormat, timeOfDay(e.Start.Add(e.Duration)), fmt.Sprintf("%s/%d", name, turn.n), requestKind(e), server, status,
		formatLatency(e.TimeToFirstByte), formatTokens(use.TotalInputTokens()), formatTokens(use.OutputTokens), formatTokens(use.CacheReadTokens))
	switch {
	case e.Outcome == ledger.Failed || e.Outcome == ledger.Truncated:
		return v.paint.in(red, row+"  "+formatAttempts(e))
	case len(e.Attempts) > 1:
		return row + "  " + v.paint.in(yellow, formatAttempts(e))
	default:
		return row
	}
}

// senderName returns the name of a request's sender.
func senderName(session string) string {
	if number, ok := sessionClient(session); ok {
		return "s" + strconv.Itoa(number)
	}
	return "guest"
}

func requestKind(e ledger.Entry) string {
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

// formatAttempts returns the path of a request from upstream to upstream.
func formatAttempts(e ledger.Entry) string {
	var steps []string
	for _, a := range e.Attempts {
		switch {
		case a.Reason == "":
			steps = append(steps, a.Server)
		case a.Status >= http.StatusBadRequest:
			steps = append(steps, fmt.Sprintf("%s ✗%d", a.Server, a.Status))
		default: // the innermost cause comes last, after addresses that do not help here
			steps = append(steps, a.Server+" ✗"+strings.TrimSpace(a.Reason[strings.LastIndex(a.Reason, ": ")+1:]))
		}
	}
	return strings.Join(steps, " → ")
}

func timeOfDay(t time.Time) string { return t.Format(time.TimeOnly) }

func formatLatency(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Millisecond:
		return "<1 ms"
	default:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
}

func formatTokens(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

// paint colors text if colors are enabled.
type paint bool

const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	plain  = "\x1b[0m"
)

// newPaint enables colors on a terminal, unless the environment disables them.
func newPaint(std service.Std) paint {
	f, ok := std.Out.(*os.File)
	noColor, _ := std.Env("NO_COLOR")
	return paint(ok && noColor == "" && runtime.GOOS != "windows" && term.IsTerminal(int(f.Fd())))
}

func (p paint) in(color, text string) string {
	if !p {
		return text
	}
	return color + text + plain
}

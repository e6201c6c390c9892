package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// upstreams are simulated ones: one is healthy, the others fail in all ways, and the healthy one
// changes, because conversations stay where they are served. A request fails after two upstreams
// that let it wait, so only one of them does.
type upstreams struct {
	fakes   []*fakeclaude.Server
	faults  [][]fault.Rule // of each while it is ill
	servers []*http.Server
	urls    []string
}

// ills are the faults for a part of the requests: before the content of a response, where no client
// may notice, and in the middle of a stream, where the client gets an error.
func ills(stalls bool) []string {
	list := []string{
		"status=500", "status=503", "status=529,retry-after=0", "status=429,retry-after=0", "reset", "close", "reset=headers", "empty", "html",
		"error=overloaded_error,at=message_start", "end=message_start", "gzip",
		"reset=mid_text", "close=first_block", "end=mid_text", "error=api_error,at=mid_text",
	}
	if stalls {
		list = append(list, "stall", "stall=headers", "stall=message_start", "stall=mid_text")
	}
	return list
}

const (
	illness = 0.01 // part of the requests that each fault affects
	// One upstream is healthy for reign, and then the next one too for overlap, which is longer
	// than any wait before a response begins: a request that found the next one failing finds the
	// current one healthy.
	reign, overlap = 5 * time.Second, 2 * firstContent
)

func startUpstreams() (*upstreams, error) {
	u := &upstreams{}
	for i, name := range []string{"a", "b", "c"} {
		f := fakeclaude.New(fakeclaude.Options{Name: name, Seed: uint64(i), KeepRequests: -1, Settings: fakeclaude.Settings{
			FirstToken: fakeclaude.Duration(30 * time.Millisecond), TokenInterval: fakeclaude.Duration(5 * time.Millisecond), MinOutput: 20, MaxOutput: 80,
		}})
		rules, err := rulesOf(ills(i == 0))
		if err != nil {
			u.close()
			return nil, err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			u.close()
			return nil, err
		}
		if i > 0 {
			f.SetFaults(rules...)
		}
		u.faults = append(u.faults, rules)
		s := &http.Server{Handler: f}
		go s.Serve(l)
		u.fakes, u.servers, u.urls = append(u.fakes, f), append(u.servers, s), append(u.urls, "http://"+l.Addr().String())
	}
	return u, nil
}

func rulesOf(faults []string) ([]fault.Rule, error) {
	var rules []fault.Rule
	for _, text := range faults {
		rule, err := fault.ParseRule(fmt.Sprintf("%s,p=%v", text, illness))
		if err != nil {
			return nil, err
		}
		if rule.Fault.Kind == fault.Stall {
			streams := true
			rule.Stream = &streams // a plain response may take minutes
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// rotate makes one upstream after another the healthy one, until ctx ends.
func (u *upstreams) rotate(ctx context.Context) {
	for well := 0; sleep(ctx, reign); {
		next := (well + 1) % len(u.fakes)
		u.fakes[next].SetFaults()
		if !sleep(ctx, overlap) {
			return
		}
		u.fakes[well].SetFaults(u.faults[well]...)
		well = next
	}
}

// sleep waits, and returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// struck returns the number of requests with a fault, and of responses that a fault has cut.
func (u *upstreams) struck() (faults, cut int64) {
	for _, f := range u.fakes {
		s := f.Stats()
		for _, n := range s.ByFault {
			faults += n
		}
		cut += s.Cut
	}
	return faults, cut
}

func (u *upstreams) close() {
	for i := range u.servers {
		u.fakes[i].Close()
		u.servers[i].Close()
	}
}

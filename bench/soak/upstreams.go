package main

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"claude-code-lb/internal/fakeclaude"
)

// upstreams are simulated ones: the first is well, the others fail in all ways. Whoever asks two that keep it waiting is given up, so
// only one ever does.
type upstreams struct {
	fakes   []*fakeclaude.Server
	servers []*http.Server
	urls    []string
}

// ills are the faults that strike a part of the requests: before the content of an answer, where nobody may notice, and in the
// midst of a stream, where the client is told.
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

const illness = 0.01 // the part of the requests that each fault strikes

func startUpstreams() (*upstreams, error) {
	u := &upstreams{}
	for i, name := range []string{"well", "ill", "slow"} {
		f := fakeclaude.New(fakeclaude.Options{Name: name, Seed: uint64(i), KeepRequests: -1, Settings: fakeclaude.Settings{
			FirstToken: fakeclaude.Duration(30 * time.Millisecond), TokenInterval: fakeclaude.Duration(5 * time.Millisecond), MinOutput: 20, MaxOutput: 80,
		}})
		if i > 0 {
			rules, err := rulesOf(ills(name == "slow"))
			if err != nil {
				return nil, err
			}
			f.SetFaults(rules...)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			u.close()
			return nil, err
		}
		s := &http.Server{Handler: f}
		go s.Serve(l)
		u.fakes, u.servers, u.urls = append(u.fakes, f), append(u.servers, s), append(u.urls, "http://"+l.Addr().String())
	}
	return u, nil
}

func rulesOf(faults []string) ([]fakeclaude.FaultRule, error) {
	var rules []fakeclaude.FaultRule
	for _, text := range faults {
		rule, err := fakeclaude.ParseFaultRule(fmt.Sprintf("%s,p=%v", text, illness))
		if err != nil {
			return nil, err
		}
		if rule.Fault.Kind == fakeclaude.FaultStall {
			streams := true
			rule.Stream = &streams // a plain answer may take minutes
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func (u *upstreams) close() {
	for i := range u.servers {
		u.fakes[i].Close()
		u.servers[i].Close()
	}
}

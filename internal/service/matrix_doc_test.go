package service

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

var update = flag.Bool("update", false, "rewrite docs/failover.md from the model")

const failoverIntro = `# Failover, fault by fault

The effect of every fault of an upstream on the client, at every point of a response, and the cooldown that follows. A test prints the tables from the model
with which it compares the balancer (` + "`internal/service/matrix_model_test.go`" + `), in every combination of fault, point, streaming or not, one to three upstreams, and
HTTP/1.1 or HTTP/2 to the upstreams. The names of faults and points are those of the [simulator](simulator.md).

- **hidden**: the client gets the complete response of another upstream and notices nothing.
- **whole**: the client gets the complete response of this upstream.
- **passed on**: the client gets the upstream's error unchanged.
- **cut short**: the client has received content already. It gets the received part, then an ` + "`error`" + ` event, and a broken connection. Nothing is ever sent twice.
- **ended by the upstream's error event**: the same with the upstream's error event. If that arrives together with the first content, the fault is still hidden.
- a status with a type: the error that the client gets if no upstream is left, in Anthropic's format.

"Twice at most": a slow response may be billed, so a request ends after two time-outs, even if a third upstream is left. A refusal
that may be specific to one upstream is checked with a second one. If both refuse alike, the client gets the refusal.

## When no upstream is left

The client gets, in this order:

1. a refusal of the request itself if two upstreams gave the same;
2. a short failure, with the upstream's error: overloaded, then a rate limit of a minute at most, then a failed server;
3. if every upstream is used up (a plan window, a spending limit, a rate limit longer than a minute; upstreams that refuse their key, their account or
   the model count as out too), the complete refusal of the one that is available first: status, body, headers, and ` + "`retry-after`" + ` in whole seconds, however
   long. Claude Code then stops at once and shows which limit is used up and until when. Later requests get the same refusal during the cooldown, with their
   own request id;
4. 404 ` + "`not_found_error`" + ` if no upstream has the model;
5. an error of the balancer. It names the cause if all upstreams have the same: connection refused, host name not found, TLS, time-out, a web page in place of the
   API, no ` + "`/v1/messages`" + ` there, no credit, credentials refused. The last two have ` + "`x-should-retry: false`" + `, because only the operator can help.

If one account is used up and another server is only down, the client gets the error of the server, which may recover in a moment.

` + "`policy_blocked`" + ` is passed on at any status, and as an event of a stream: no other upstream is tried and no cooldown begins. A limit of **fast mode** is passed
on at once, because the client falls back to the standard speed itself; the cooldown covers fast requests only. After a refusal of the **long context** the cooldown covers
this model with the long context only.

## A model that is overloaded everywhere

A request waits once for an overloaded model, within ` + "`max_wait`" + `. When every upstream has refused the model twice in a row within seconds, its clients get the 529 at once,
with a ` + "`retry-after`" + ` of half the cooldown, until one of them is served. Seconds until the client had a response, measured with two overloaded upstreams, ` + "`max_wait`" + `
30 s, and a client that retries as Claude Code does (three 529 in a row, then its fallback model; without one ten tries):

| Overload lasts | 5 s | 15 s | 40 s |
| --- | --- | --- | --- |
| with a fallback model: waited out each time | 7.7 | 17.6 | 36.4 |
| with a fallback model: **waited out once** | 4.7 | 5.0 | 5.5 |
| with a fallback model: never waited out | 4.0 | 3.0 | 3.0 |
| without one: waited out each time | 5.6 | 22.0 | 40.3 |
| without one: **waited out once** | 10.4 | 17.3 | 43.8 |
| without one: never waited out | 8.0 | 20.0 | 67.0 |

So waiting once costs clients without a fallback model little, because they wait themselves, and saves half a minute for clients that have one. A client that gives up after
two retries sees an overload of more than about five seconds.

## Other vendors' words

The table in ` + "`internal/claude/dialect.go`" + ` lists the texts of vendors and relays; ` + "`claude-code-lb explain-error`" + ` shows how a response is classified,
and [` + "`error_rules`" + `](choosing.md#rules-of-your-own) add to it.

[How an upstream is chosen](choosing.md) describes cooldowns. With ` + "`max_wait`" + ` above 0 a request without an available upstream waits for one that
returns in time, before it gets any of the errors below. If several upstreams fail alike on one request, and on no other, the request is at fault:
no cooldown begins.
`

const failoverConnections = `
## Connections

A server's keep-alive timer may close a connection just when a request is sent over it. If a connection that was kept from an earlier request ends (EOF, reset, GOAWAY) before any byte
of a response, the request is sent again once, over a new connection to the same server, and this does not count as a failure of the server. If that fails too, the tables above apply. This
covers requests whose whole body is in memory; uploads and the creation of a batch are never sent twice, and over HTTP/1.1 go over a new connection instead. Over HTTP/2, a request that the server refused before processing it is sent again as well.

Any number of interim responses (status 100, 102, 103) may precede a response. The time limits and the header size limit of the response include them.

While the balancer's process is suspended (SIGSTOP, ` + "`docker pause`" + `, a virtual machine that is moved, a machine that swaps), its timers continue although nothing can arrive. A timer
that fires late therefore reads once more what has arrived, and extends the limit by up to twice the delay (at most by the limit itself), before it ends anything.
`

func TestFailoverDoc(t *testing.T) {
	const file = "../../docs/failover.md"
	want := failoverIntro + table("Streaming requests", true) + table("Requests that do not stream", false) + failoverSides + failoverConnections
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s differs from the model, %v: go test ./internal/service -run TestFailoverDoc -update", file, err)
	}
}

// table prints the model for one kind of request; faults with the same row share it.
func table(title string, stream bool) string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n## %s\n\n| Fault | Another upstream is left | No other upstream is left | Cooldown |\n| --- | --- | --- | --- |\n", title)
	names, previous := []string{}, ""
	flush := func() {
		if len(names) > 0 {
			fmt.Fprintf(&out, "| %s %s\n", strings.Join(names, "; "), previous)
		}
	}
	for _, f := range faults() {
		row := fmt.Sprintf("| %s | %s | %s |", withAnother(f, stream), alone(f, stream), cooldownOf(f, stream))
		if row != previous {
			flush()
			names, previous = nil, row
		}
		names = append(names, "`"+name(f)+"`")
	}
	flush()
	return out.String()
}

func withAnother(f fault.Fault, stream bool) string {
	v := expect(f, stream, 2, true)
	switch {
	case v.whole && v.asked[1] == 0:
		return "whole"
	case v.whole && twiceAtMost(f, stream):
		return "hidden, twice at most"
	case v.whole:
		return "hidden"
	default:
		return described(f, v, stream)
	}
}

func alone(f fault.Fault, stream bool) string {
	v := expect(f, stream, 1, false)
	if v.whole {
		return "whole"
	}
	return described(f, v, stream)
}

func described(f fault.Fault, v view, stream bool) string {
	switch {
	case v.truncated && v.cut:
		return "cut short"
	case v.truncated && effectOf(f, stream) == lastWords:
		return "ended by the upstream's error event"
	case v.truncated, v.status == statusOf(f):
		return "passed on"
	default:
		return fmt.Sprintf("%d `%s`", v.status, v.kind)
	}
}

func cooldownOf(f fault.Fault, stream bool) string {
	return map[upstream.Unfit]string{
		upstream.Fit: "none", upstream.Paused: "this class of models here, for seconds", upstream.RateLimited: "this class of models at the account",
		upstream.Cooling: "this server", upstream.CredentialOut: "this key", upstream.AccountOut: "the account",
		upstream.ModelOut: "this model here",
	}[unfitOf(f, stream)]
}

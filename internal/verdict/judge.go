package verdict

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Evidence is everything known of an attempt at the moment of the verdict.
type Evidence struct {
	Status int           // 0 when no head arrived
	Header http.Header   // of the answer, nil without one
	Error  *claude.Error // of an error body or of an error event inside a 200
	Body   []byte        // of an error answer, or the data of an error event, as far as it was read
	Err    error         // of the transport or of reading the answer
	Server string        // the server's name
	Model  string        // the model asked for
	Path   string        // the class of the path by claude.PathClass, "" for a message
	// Variant is that of the request's Subject.
	Variant Variant
	// OwnCredential says that the client's own credential was sent, because the server has none.
	OwnCredential bool
	Now           time.Time
}

// status is that of the answer, or the one that goes with an error event inside a 200.
func (ev Evidence) status() int {
	if ev.Status < http.StatusBadRequest && ev.Error != nil {
		return claude.StatusForType(ev.Error.Type)
	}
	return ev.Status
}

// Judge turns evidence into a verdict by what is known of the API. It is pure.
func Judge(ev Evidence) Outcome {
	if ev.Err != nil {
		o := judgeErr(ev.Err)
		o.Connection = o.Connection && ev.Status == 0
		return o
	}
	status := ev.status()
	if status < http.StatusBadRequest {
		return Outcome{}
	}
	f := find(ev, status)
	if f.scope != ScopeModel && !f.final && !f.settled && lacksPath(status) {
		f = ev.withoutPath(f)
	}
	o := Outcome{Scope: f.scope, Cause: f.cause, Final: f.final, Ambiguous: f.ambiguous, Reason: f.reason(ev, status)}
	o.RetryAfter = cooldownOf(ev, o.Scope)
	if o.Scope == ScopeEndpoint && isLoop(ev) {
		o.Reason, o.RetryAfter, o.FromRule = "loop: its url leads back to a balancer on the way", loopCooldown, true
	}
	return ev.conclude(o)
}

// lacksPath reports whether a status may mean that the upstream does not offer the path.
func lacksPath(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

// withoutPath is the finding for a response that may mean that the upstream does not offer the path. Gateways may lack
// count_tokens and the list of models: the path gets a cooldown. Other paths may not exist in the API at all: another
// upstream is asked. For batches, files and skills such a response is about an id.
func (ev Evidence) withoutPath(f finding) finding {
	switch ev.Path {
	case claude.PathCountTokens, claude.PathModels:
		return finding{scope: ScopeEndpoint, note: "path not offered"}
	case claude.PathMessages, claude.PathBatches, claude.PathFiles, claude.PathSkills:
		return f
	}
	f.ambiguous = f.ambiguous || f.scope == ScopeRequest && ev.status() != http.StatusNotImplemented // a 501 is a definite answer
	return f
}

// conclude settles what holds for every verdict on an error that an upstream has stated, whoever found it.
func (ev Evidence) conclude(o Outcome) Outcome {
	if ev.OwnCredential && (o.Scope == ScopeCredential || o.Scope == ScopeAccount) {
		// A client's key that is not valid says nothing about the server.
		o.Scope, o.Ambiguous = ScopeRequest, true
	}
	switch {
	case o.Scope != ScopeRequest:
		o.Unbilled = free(ev)
		return o
	case o.Ambiguous:
		if o.FromRule { // no cooldown begins, so the rule's duration has no effect
			o.RetryAfter = 0
		}
		return Outcome{Scope: ScopeRequest, Ambiguous: true, Cause: o.Cause, Reason: o.Reason, RetryAfter: o.RetryAfter}
	default:
		return Outcome{Scope: ScopeRequest}
	}
}

// free says whether an upstream that states an error has refused before it did any work. It has not when
// it ran out of time, nor when the error came after the head of an answer.
func free(ev Evidence) bool {
	switch {
	case ev.Status < http.StatusBadRequest, ev.Status == http.StatusRequestTimeout, ev.Status == http.StatusGatewayTimeout:
		return false
	default:
		return ev.Error == nil || ev.Error.Type != claude.ErrTimeout
	}
}

// reason words the verdict with nothing that the upstream chose freely.
func reason(ev Evidence, status int) string { return finding{}.reason(ev, status) }

// reason words the verdict with nothing that the upstream chose freely.
func (f finding) reason(ev Evidence, status int) string {
	text := fmt.Sprintf("status %d", status)
	if ev.Status < http.StatusBadRequest {
		text = "error event"
	}
	if ev.Error != nil {
		if kind := word(string(ev.Error.Type)); kind != "" {
			text += " " + kind
		}
		if t := trouble(ev, status); t != claude.NoIssue {
			text += ", " + t.String()
		}
	}
	if f.note != "" {
		text += ", " + f.note
	}
	return text
}

// word keeps what a wire name may hold, so that nothing an upstream sends reaches a log as it is.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, s[:min(len(s), 40)])
}

// loopCooldown is the cooldown of a server that leads back here. It is longer than requests wait,
// because a configuration must be corrected first.
const loopCooldown = 2 * time.Minute

// isLoop reports whether a balancer refused a request that had passed it before.
func isLoop(ev Evidence) bool {
	return ev.Status == http.StatusLoopDetected && ev.Header.Get("X-Should-Retry") == "false"
}

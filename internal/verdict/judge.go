package verdict

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Evidence is everything that is known about an attempt when it is classified.
type Evidence struct {
	Status int           // 0 if no response header arrived
	Header http.Header   // of the response, nil without one
	Error  *claude.Error // of an error body, or of an error event in a response with status 200
	Body   []byte        // body of an error response, or data of an error event, as much as was read
	Err    error         // of the transport, or of reading the response
	Server string        // the endpoint's name
	Model  string        // the requested model
	Path   string        // class of the path by claude.PathClass, "" for a message
	// Variant is the variant of the request's Subject.
	Variant Variant
	// OwnCredential reports that the attempt used the client's credential, because the endpoint has
	// none.
	OwnCredential bool
	Now           time.Time
}

// status returns the status of the response, or the status that belongs to an error event in a
// response with status 200.
func (ev Evidence) status() int {
	if ev.Status < http.StatusBadRequest && ev.Error != nil {
		return claude.StatusForType(ev.Error.Type)
	}
	return ev.Status
}

// Judge classifies evidence by the documented and observed behavior of the API and of relays. It is
// pure.
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

// withoutPath returns the finding for a response that may mean that the upstream does not offer the
// path. Gateways may lack count_tokens and the list of models: this path of the endpoint gets a
// cooldown. Other paths may not exist in the API at all: another upstream is tried. For batches,
// files and skills such a response is about an id.
func (ev Evidence) withoutPath(f finding) finding {
	switch ev.Path {
	case claude.PathCountTokens, claude.PathModels:
		return finding{scope: ScopeEndpoint, note: "path not offered"}
	case claude.PathMessages, claude.PathBatches, claude.PathFiles, claude.PathSkills:
		return f
	}
	f.ambiguous = f.ambiguous || f.scope == ScopeRequest && ev.status() != http.StatusNotImplemented // a 501 is unambiguous
	return f
}

// conclude applies what holds for every outcome of an explicit error, regardless of the rule that
// classified it.
func (ev Evidence) conclude(o Outcome) Outcome {
	if ev.OwnCredential && (o.Scope == ScopeCredential || o.Scope == ScopeAccount) {
		// An invalid credential of the client proves nothing about the server.
		o.Scope, o.Ambiguous = ScopeRequest, true
	}
	switch {
	case o.Scope != ScopeRequest:
		o.Unbilled = isUnbilled(ev)
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

// isUnbilled reports whether an upstream refused before it did any work. It did not if its time ran
// out, or if the error came after the response header.
func isUnbilled(ev Evidence) bool {
	switch {
	case ev.Status < http.StatusBadRequest, ev.Status == http.StatusRequestTimeout, ev.Status == http.StatusGatewayTimeout:
		return false
	default:
		return ev.Error == nil || ev.Error.Type != claude.ErrTimeout
	}
}

// reason describes the outcome without text that the upstream chose freely.
func reason(ev Evidence, status int) string { return finding{}.reason(ev, status) }

// reason describes the finding without text that the upstream chose freely.
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

// word keeps only the characters of API names, so that no text of an upstream gets into the log
// unchanged.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, s[:min(len(s), 40)])
}

// loopCooldown is the cooldown of a server that leads back to this balancer. It is longer than
// requests wait, because the configuration must be corrected first.
const loopCooldown = 2 * time.Minute

// isLoop reports whether a balancer refused a request that had passed it before.
func isLoop(ev Evidence) bool {
	return ev.Status == http.StatusLoopDetected && ev.Header.Get("X-Should-Retry") == "false"
}

package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
)

// maxDump bounds the bytes of a body in one debug line.
const maxDump = 64 << 10

// Dump writes headers and bodies to the log, without credentials and bounded. A nil Dump does
// nothing: debugging is off. Safe for concurrent use.
type Dump struct {
	log    *slog.Logger
	redact *Redactor
}

// NewDump returns a Dump that writes to log at debug level.
func NewDump(log *slog.Logger, redact *Redactor) *Dump { return &Dump{log: log, redact: redact} }

// Request logs a client's request.
func (d *Dump) Request(ctx context.Context, id string, r *http.Request, body []byte) {
	if d == nil {
		return
	}
	d.log.DebugContext(ctx, DebugRequest, ID, id, Method, r.Method, Path, d.redact.URI(r.URL.RequestURI()),
		Headers, d.redact.Header(r.Header), Body, d.show(body))
}

// Attempt logs an upstream request without its body, which is the client's.
func (d *Dump) Attempt(ctx context.Context, id, server string, r *http.Request) {
	if d == nil {
		return
	}
	d.log.DebugContext(ctx, DebugAttempt, ID, id, Server, server, Method, r.Method, Path, d.redact.URI(r.URL.RequestURI()),
		Headers, d.redact.Header(r.Header))
}

// Response logs status and header of an upstream response.
func (d *Dump) Response(ctx context.Context, id, server string, res *http.Response) {
	if d == nil {
		return
	}
	d.log.DebugContext(ctx, DebugResponse, ID, id, Server, server, Status, res.StatusCode, Headers, d.redact.Header(res.Header))
}

// Chunk logs a part of a response body on its way to the client.
func (d *Dump) Chunk(ctx context.Context, id string, p []byte) {
	if d == nil || len(p) == 0 {
		return
	}
	d.log.DebugContext(ctx, DebugChunk, ID, id, Body, d.show(p))
}

// show makes a body readable: JSON is indented, anything else stays as it is, and the end is cut at
// maxDump.
func (d *Dump) show(p []byte) string {
	var pretty bytes.Buffer
	if len(p) <= maxDump && json.Indent(&pretty, p, "", "  ") == nil {
		return d.redact.Text(pretty.String())
	}
	if len(p) <= maxDump {
		return d.redact.Text(string(p))
	}
	// Redact a part beyond the cut too: otherwise a credential across the cut would be visible in
	// part.
	text := d.redact.Text(string(p[:min(len(p), 2*maxDump)]))
	return text[:min(len(text), maxDump)] + fmt.Sprintf("… (%d bytes in all)", len(p))
}

package admin

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/report"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

const (
	defaultLogPage = 100
	// maxExport bounds the rows of one export as CSV or NDJSON.
	maxExport = 1_000_000
)

// logEntry is the JSON form of a request in the log.
type logEntry struct {
	ID         string    `json:"id"` // in the ledger; a string, because JavaScript rounds such numbers
	RequestID  string    `json:"request_id"`
	Time       time.Time `json:"time"`
	Client     string    `json:"client"`
	Session    string    `json:"session,omitempty"`
	Agent      string    `json:"agent,omitempty"`
	Model      string    `json:"model,omitempty"`
	Method     string    `json:"method"`
	Path       string    `json:"path"`
	Stream     bool      `json:"stream"`
	Server     string    `json:"server,omitempty"`
	Attempts   int       `json:"attempts"`
	Routed     string    `json:"routed,omitempty"`
	Outcome    string    `json:"outcome"`
	Status     int       `json:"status"`
	Reason     string    `json:"reason,omitempty"`
	FirstByte  float64   `json:"first_byte_seconds"`
	Duration   float64   `json:"duration_seconds"`
	Waited     float64   `json:"waited_seconds"`
	Input      int64     `json:"input_tokens"`
	Output     int64     `json:"output_tokens"`
	CacheRead  int64     `json:"cache_read_tokens"`
	CacheWrite int64     `json:"cache_creation_tokens"`
	Cost       string    `json:"cost_usd,omitempty"` // "" if unknown
	Saved      string    `json:"saved_usd"`
	Wasted     string    `json:"wasted_usd"`
	Unpriced   string    `json:"unpriced,omitempty"` // the part without a known price
	Estimated  bool      `json:"estimated,omitempty"`
}

// logColumns are the columns of a CSV export, in the order of logEntry.
func logColumns() []string {
	return []string{"id", "request_id", "time", "client", "session", "agent", "model", "method", "path", "stream", "server", "attempts", "routed", "outcome", "status",
		"reason", "first_byte_seconds", "duration_seconds", "waited_seconds", "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens",
		"cost_usd", "saved_usd", "wasted_usd", "unpriced", "estimated"}
}

func (e *logEntry) values() []string {
	float := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	return []string{e.ID, report.NoFormula(e.RequestID), e.Time.Format(time.RFC3339Nano), report.NoFormula(e.Client), report.NoFormula(e.Session), report.NoFormula(e.Agent),
		report.NoFormula(e.Model), report.NoFormula(e.Method), report.NoFormula(e.Path), strconv.FormatBool(e.Stream), report.NoFormula(e.Server), strconv.Itoa(e.Attempts),
		e.Routed, e.Outcome, strconv.Itoa(e.Status), report.NoFormula(e.Reason), float(e.FirstByte), float(e.Duration), float(e.Waited),
		strconv.FormatInt(e.Input, 10), strconv.FormatInt(e.Output, 10), strconv.FormatInt(e.CacheRead, 10), strconv.FormatInt(e.CacheWrite, 10),
		e.Cost, e.Saved, e.Wasted, report.NoFormula(e.Unpriced), strconv.FormatBool(e.Estimated)}
}

func logEntryOf(r *store.LogRow) logEntry {
	e := r.Entry
	u, cost := e.Usage(), e.Cost()
	out := logEntry{
		ID: strconv.FormatInt(r.ID, 10), RequestID: e.ID, Time: e.Start.UTC(), Client: e.Client, Session: e.Session, Agent: e.Agent, Model: e.Model,
		Method: e.Method, Path: claude.ShortenIDs(e.Path), Stream: e.Stream, Server: e.Server(), Attempts: len(e.Attempts), Routed: string(e.Routed),
		Outcome: string(e.Outcome), Status: e.Status, Reason: e.Reason,
		FirstByte: seconds(e.TimeToFirstByte), Duration: seconds(e.Duration), Waited: seconds(e.Waited),
		Input: u.InputTokens, Output: u.OutputTokens, CacheRead: u.CacheReadTokens, CacheWrite: u.CacheCreationTokens(),
		Saved: cost.Saved.Exact(), Wasted: cost.Wasted.Exact(), Unpriced: cost.Unpriced, Estimated: e.Estimated(),
	}
	if cost.Known {
		out.Cost = cost.Sum.Exact()
	}
	return out
}

// store returns the open ledger, or the reason why there is none.
func (h *Handler) store() (*store.Store, *problem) {
	if h.Ledger == nil {
		return nil, newProblem(http.StatusNotFound, "no_ledger", "The ledger is off: set ledger in the configuration to record requests.")
	}
	s := h.Ledger()
	if s == nil {
		return nil, newProblem(http.StatusServiceUnavailable, "ledger_unavailable", "The ledger is not open: /admin/api/status has the reason.")
	}
	return s, nil
}

// report sums up the ledger.
func (h *Handler) report(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if refusal := checkParameters(query, "by", "since", "until", "tz", "key", "model", "upstream"); refusal != nil {
		refusal.write(w)
		return
	}
	zone := query.Get("tz")
	if zone == "" && h.Zone != nil {
		zone = h.Zone()
	}
	by := "day"
	if query.Has("by") {
		by = query.Get("by")
	}
	q, err := report.Params{
		By: by, Since: query.Get("since"), Until: query.Get("until"), Zone: zone,
		Key: query.Get("key"), Model: query.Get("model"), Upstream: query.Get("upstream"),
	}.Question(time.Now())
	if err != nil {
		newProblem(http.StatusBadRequest, "invalid_request", "The parameter "+err.Error()+".").write(w)
		return
	}
	s, refusal := h.store()
	if refusal != nil {
		refusal.write(w)
		return
	}
	lines, err := s.Report(r.Context(), q)
	if err != nil {
		ledgerFailed(err).write(w)
		return
	}
	format := exportFormat(r)
	w.Header().Set("Content-Type", mediaOf(format))
	_ = report.Write(w, format, q, lines) // the client has left
}

func ledgerFailed(err error) *problem {
	return newProblem(http.StatusServiceUnavailable, "ledger_unavailable", fmt.Sprintf("The ledger cannot be read: %v.", err))
}

// exportFormat returns the format that the request accepts: csv, ndjson, or json.
func exportFormat(r *http.Request) string {
	accept := r.Header.Get("Accept")
	switch {
	case strings.Contains(accept, "text/csv"):
		return "csv"
	case strings.Contains(accept, "application/x-ndjson"):
		return "ndjson"
	default:
		return "json"
	}
}

func mediaOf(format string) string {
	return map[string]string{"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson", "json": "application/json"}[format]
}

// logList responds with a page of the log, or streams all of it as CSV or NDJSON.
func (h *Handler) logList(w http.ResponseWriter, r *http.Request) {
	f, before, limit, refusal := parseLog(r.URL.Query(), time.Now())
	if refusal != nil {
		refusal.write(w)
		return
	}
	s, refusal := h.store()
	if refusal != nil {
		refusal.write(w)
		return
	}
	if format := exportFormat(r); format != "json" {
		h.export(w, r, s, f, before, limit, format)
		return
	}
	page, err := s.Log(r.Context(), f, before, cmp.Or(limit, defaultLogPage))
	if err != nil {
		ledgerFailed(err).write(w)
		return
	}
	list := make([]logEntry, len(page.Rows))
	for i := range page.Rows {
		list[i] = logEntryOf(&page.Rows[i])
	}
	out := map[string]any{"requests": list, "partial": page.Partial}
	if page.Next > 0 {
		out["next"] = strconv.FormatInt(page.Next, 10)
	}
	writeJSON(w, http.StatusOK, out)
}

// parseLog parses the parameters of the log. limit is 0 if the request has none.
func parseLog(query url.Values, now time.Time) (f store.LogFilter, before int64, limit int, refusal *problem) {
	if refusal := checkParameters(query, "before", "limit", "since", "until", "client", "session", "model", "server", "outcome", "failed"); refusal != nil {
		return f, 0, 0, refusal
	}
	invalid := func(name, want string) *problem {
		return newProblem(http.StatusBadRequest, "invalid_request", fmt.Sprintf("The parameter %s must be %s.", name, want))
	}
	f = store.LogFilter{Client: query.Get("client"), Session: query.Get("session"), Model: query.Get("model"), Server: query.Get("server"), Outcome: ledger.Outcome(query.Get("outcome"))}
	var err error
	if v := query.Get("before"); v != "" {
		if before, err = strconv.ParseInt(v, 10, 64); err != nil || before < 1 {
			return f, 0, 0, invalid("before", "the value of next in a previous response")
		}
	}
	if v := query.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 {
			return f, 0, 0, invalid("limit", "a whole number of at least 1")
		}
	}
	for name, into := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if v := query.Get(name); v != "" {
			if *into, err = report.ParseTime(v, now, time.UTC); err != nil {
				return f, 0, 0, invalid(name, "a time: "+err.Error())
			}
		}
	}
	switch v := query.Get("failed"); v {
	case "", "false":
	case "true":
		f.Failed = true
	default:
		return f, 0, 0, invalid("failed", "true or false")
	}
	if f.Outcome != "" {
		refusal = checkValues("outcome", []string{string(f.Outcome)})
	}
	return f, before, limit, refusal
}

// export streams the log, page by page, until its end or the limit.
func (h *Handler) export(w http.ResponseWriter, r *http.Request, s *store.Store, f store.LogFilter, before int64, limit int, format string) {
	limit = min(cmp.Or(limit, maxExport), maxExport)
	w.Header().Set("Content-Type", mediaOf(format))
	table, lines := csv.NewWriter(w), json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	if format == "csv" {
		_ = table.Write(logColumns())
	}
	for limit > 0 {
		page, err := s.Log(r.Context(), f, before, min(limit, store.MaxLogPage))
		if err != nil {
			panic(http.ErrAbortHandler) // the client notices that the export is incomplete
		}
		for i := range page.Rows {
			e := logEntryOf(&page.Rows[i])
			if format == "csv" {
				err = table.Write(e.values())
			} else {
				err = lines.Encode(e)
			}
			if err != nil {
				return // the client has left
			}
		}
		if table.Flush(); table.Error() != nil {
			return
		}
		limit -= len(page.Rows)
		if before = page.Next; before == 0 {
			return
		}
	}
}

// logOne responds with one request and all of its attempts. The id is that of the ledger or of the
// request.
func (h *Handler) logOne(w http.ResponseWriter, r *http.Request) {
	s, refusal := h.store()
	if refusal != nil {
		refusal.write(w)
		return
	}
	name := r.PathValue("id")
	var row *store.LogRow
	var err error
	complete := true
	if id, notNumber := strconv.ParseInt(name, 10, 64); notNumber == nil {
		row, err = s.Request(r.Context(), id)
	} else {
		row, complete, err = s.RequestByName(r.Context(), name)
	}
	switch {
	case err != nil:
		ledgerFailed(err).write(w)
	case row == nil && !complete:
		newProblem(http.StatusNotFound, "not_found", "The newest requests do not include this id, and the search took too long: use the id in the ledger, or the log with since and until.").write(w)
	case row == nil:
		newProblem(http.StatusNotFound, "not_found", "The ledger has no request with this id. A request is written some moments after its end, and deleted after retention_days.").write(w)
	default:
		writeJSON(w, http.StatusOK, detailOf(row))
	}
}

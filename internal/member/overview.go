package member

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

const (
	shownRequests = 20
	shownSessions = 10
)

// overview is the body of GET /lb/me.
type overview struct {
	Auth     bool              `json:"auth"`
	Time     time.Time         `json:"time"`
	TimeZone string            `json:"time_zone,omitempty"` // of today and the month
	Key      *quota.KeyView    `json:"key,omitempty"`
	Today    *Usage            `json:"today,omitempty"`
	Month    *Usage            `json:"month,omitempty"`
	Sessions []sessionView     `json:"sessions,omitempty"`
	Requests []requestView     `json:"requests,omitempty"`
	Ledger   string            `json:"ledger,omitempty"` // why figures are missing: off or unavailable
	Connect  map[string]string `json:"connect"`
}

// sessionView is one session of the key.
type sessionView struct {
	ID     string    `json:"session"`
	Last   time.Time `json:"last"`
	Model  string    `json:"model,omitempty"`
	Server string    `json:"server,omitempty"`
	*Usage
}

// requestView is one request of the key. It has no text of upstreams, which may contain addresses.
type requestView struct {
	ID         string    `json:"id"`
	RequestID  string    `json:"request_id"`
	Time       time.Time `json:"time"`
	Session    string    `json:"session,omitempty"`
	Agent      string    `json:"agent,omitempty"`
	Model      string    `json:"model,omitempty"`
	Path       string    `json:"path"`
	Server     string    `json:"server,omitempty"`
	Attempts   int       `json:"attempts"`
	Outcome    string    `json:"outcome"`
	Status     int       `json:"status"`
	Reason     string    `json:"reason,omitempty"` // why the balancer refused it
	FirstByte  float64   `json:"first_byte_seconds"`
	Duration   float64   `json:"duration_seconds"`
	Waited     float64   `json:"waited_seconds"`
	Input      int64     `json:"input_tokens"`
	Output     int64     `json:"output_tokens"`
	CacheRead  int64     `json:"cache_read_tokens"`
	CacheWrite int64     `json:"cache_creation_tokens"`
	CacheRatio *float64  `json:"cache_ratio"`
	Cost       *float64  `json:"cost_usd"` // null: unknown
}

// overview shows the key to its holder: JSON, or a page for a browser.
func (c call) overview(w http.ResponseWriter, r *http.Request) *problem {
	o := overview{Auth: c.Key != nil, Time: c.now.UTC(), Connect: connectWith(r)}
	if c.Key != nil {
		key := c.Key.View(c.now)
		key.TimeZone, o.TimeZone = "", c.Key.Zone().String()
		o.Key = &key
		o.Ledger = ledgerState(c.addHistory(r.Context(), &o))
	}
	if wantsPage(r) {
		return writePage(w, r, &o)
	}
	return writeJSON(w, r, o)
}

// addHistory adds what the ledger knows. Without it the rest is still useful.
func (c *call) addHistory(ctx context.Context, o *overview) error {
	s, err := c.spent(ctx)
	if err != nil {
		return err
	}
	o.Today, o.Month = usageOf(&s.today), usageOf(&s.month)
	page, err := c.requests(ctx, store.LogFilter{}, 0, shownRequests)
	if err != nil {
		return err
	}
	o.Requests = c.requestViews(page)
	for i := range page.Rows { // the sessions of an earlier process
		c.session(ctx, page.Rows[i].Entry.Session)
	}
	for _, s := range c.sessions.of(c.Client) {
		if len(o.Sessions) == shownSessions {
			break
		}
		s = c.session(ctx, s.name.id)
		o.Sessions = append(o.Sessions, sessionView{s.name.id, s.last.UTC(), s.model, c.label(s.server), usageOf(&s.sums)})
	}
	return nil
}

func ledgerState(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errNoLedger):
		return "off"
	default:
		return "unavailable"
	}
}

// requests returns a page of the client's requests that match a filter.
func (c *call) requests(ctx context.Context, f store.LogFilter, before int64, limit int) (page store.LogPage, err error) {
	f.Client = c.Client
	err = c.query(ctx, func(ctx context.Context, s *store.Store) error {
		page, err = s.Log(ctx, f, before, limit)
		return err
	})
	return page, err
}

func (c *call) requestViews(page store.LogPage) []requestView {
	list := make([]requestView, 0, len(page.Rows))
	for i := range page.Rows {
		list = append(list, c.requestView(&page.Rows[i]))
	}
	return list
}

func (c *call) requestView(row *store.LogRow) requestView {
	e := row.Entry
	u, cost := e.Usage(), e.Cost()
	out := requestView{
		ID: strconv.FormatInt(row.ID, 10), RequestID: e.ID, Time: e.Start.UTC(), Session: e.Session, Agent: e.Agent, Model: e.Model,
		Path: claude.ShortenIDs(e.Path), Server: c.label(e.Server()), Attempts: len(e.Attempts), Outcome: string(e.Outcome), Status: e.Status,
		FirstByte: e.TimeToFirstByte.Seconds(), Duration: e.Duration.Seconds(), Waited: e.Waited.Seconds(),
		Input: u.InputTokens, Output: u.OutputTokens, CacheRead: u.CacheReadTokens, CacheWrite: u.CacheCreationTokens(),
	}
	if e.Outcome == ledger.Refused {
		out.Reason = e.Reason
	}
	if all := u.InputTokens + u.CacheReadTokens + u.CacheCreationTokens(); all > 0 {
		ratio := rounded(float64(u.CacheReadTokens) / float64(all))
		out.CacheRatio = &ratio
	}
	if cost.Known {
		dollars := cost.Sum.Dollars()
		out.Cost = &dollars
	}
	return out
}

// connectWith returns what Claude Code needs, with the address that the member has used. It never
// has the key.
func connectWith(r *http.Request) map[string]string {
	scheme := "http"
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	url := scheme + "://" + cmp.Or(host(r.Host), "127.0.0.1:3000")
	return map[string]string{
		"base_url": url, "command": "claude-code-lb connect " + url + " -key -",
		"settings": `{"env": {"ANTHROPIC_BASE_URL": "` + url + `", "ANTHROPIC_AUTH_TOKEN": "YOUR_KEY"}}`,
	}
}

// host returns the host of a request if it is an ordinary one, so that it can stand in a command.
func host(h string) string {
	if strings.Trim(strings.ToLower(h), "abcdefghijklmnopqrstuvwxyz0123456789.-:[]") != "" || len(h) > 255 {
		return ""
	}
	return h
}

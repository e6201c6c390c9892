package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// maxPages limits the further pages of an upstream's list that one request reads, and
	// listingTime the time for them.
	maxPages    = 20
	listingTime = 10 * time.Second
	// usualPage is the size of a page if the request names none (API reference).
	usualPage = 20
	// largestPage is the largest size of a page (API reference; lists with page tokens keep the
	// client's number).
	largestPage = 1000
)

// errUnreadableList reports a response whose list elements cannot be read.
var errUnreadableList = fmt.Errorf("%w: a list in a form that is not known", verdict.ErrUnusable)

// restrictList removes from a list the elements that the client key may not use, and reads further
// pages of the upstream until the client's page is full. If it returns false, it has sent an error.
func (x *exchange) restrictList(a *attempt) bool {
	r := x.pin.owned
	if !x.isolated() || !x.pin.isOwned || !r.List || r.Name != "" || x.req.HTTP.Method != http.MethodGet || a.res.StatusCode/100 != 2 {
		return true
	}
	page, err := x.ownPage(a)
	if err == nil {
		a.buffered, a.complete = page, true
		return true
	}
	x.keepalive.end()
	x.entry.Outcome, x.entry.Reason = ledger.Failed, err.Error()
	x.sendError(false, http.StatusBadGateway, 0, claude.Error{
		Type:    claude.ErrAPI,
		Message: "The upstream's list could not be read, so what belongs to other client keys could not be left out: try again.",
	})
	return false
}

// listing is a client's page of a list while it is built.
type listing struct {
	rest   map[string]json.RawMessage // of the first page, besides what is set below
	data   []json.RawMessage          // that the client may see
	ids    []string                   // of data
	own    int                        // number of ids that are not built in
	wanted int
	back   bool // the client pages backwards, by before_id
	tokens bool // the list pages by tokens instead of ids
	more   bool // there are elements beyond this page
}

// ownPage reads pages of the upstream until the client's page is full.
func (x *exchange) ownPage(a *attempt) ([]byte, error) {
	if err := a.fillBuffer(maxPlainBody); err != nil || !a.complete {
		return nil, errors.Join(errUnreadableList, err)
	}
	page, err := claude.ParsePage(a.buffered)
	if err != nil {
		return nil, errUnreadableList
	}
	query := x.req.HTTP.URL.Query()
	l := &listing{rest: page.Members, wanted: usualPage, back: query.Get("before_id") != "", tokens: page.UsesTokens}
	if n, err := strconv.Atoi(query.Get("limit")); err == nil && n > 0 {
		l.wanted = min(n, largestPage)
	}
	x.addPage(l, &page)
	owned := x.allOwned(query)
	ctx, cancel := context.WithTimeout(a.ctx, listingTime)
	defer cancel()
	for n := 0; page.HasMore && !l.full() && l.own < owned; n++ {
		if n == maxPages {
			break
		}
		next, err := x.nextPage(ctx, a, l, &page)
		if err != nil {
			if len(l.ids) == 0 { // an empty page would look like the end
				return nil, err
			}
			break
		}
		page = next
		x.addPage(l, &page)
	}
	l.more = l.more || page.HasMore && l.own < owned
	return l.render(page.NextToken), nil
}

// allOwned is the number of elements that the list can have for the client key. When all are found,
// no further page is read. It is unknown for a page that begins at a cursor.
func (x *exchange) allOwned(query url.Values) int {
	prefix := x.pin.owned.Prefix
	if x.req.Settings.SoleTenant || prefix == "" || query.Get("after_id") != "" || query.Get("before_id") != "" || query.Get("page") != "" {
		return 1 << 30
	}
	return x.p.Resources.Count(prefix, x.req.Key.Tenants()...)
}

// addPage adds the elements of a page that the client may see.
func (x *exchange) addPage(l *listing, page *claude.Page) {
	var data []json.RawMessage
	var ids []string
	for i, id := range page.IDs {
		if page.BuiltIn[i] || id != "" && x.mayUse(id) {
			data, ids = append(data, page.Data[i]), append(ids, id)
			if !page.BuiltIn[i] {
				l.own++
			}
		}
	}
	if l.back {
		l.data, l.ids = append(data, l.data...), append(ids, l.ids...)
	} else {
		l.data, l.ids = append(l.data, data...), append(l.ids, ids...)
	}
	if over := len(l.ids) - l.wanted; over > 0 && !l.tokens { // a token cannot name the middle of a page
		l.more = true
		if l.back {
			l.data, l.ids = l.data[over:], l.ids[over:]
		} else {
			l.data, l.ids = l.data[:l.wanted], l.ids[:l.wanted]
		}
	}
}

// full reports whether no further page is needed. Lists that page by tokens end at any page that
// shows something.
func (l *listing) full() bool {
	if l.tokens {
		return len(l.ids) > 0
	}
	return len(l.ids) >= l.wanted
}

// nextPage requests the page after one from the same upstream.
func (x *exchange) nextPage(ctx context.Context, a *attempt, l *listing, page *claude.Page) (claude.Page, error) {
	u := *x.req.HTTP.URL
	query := u.Query()
	switch {
	case l.tokens:
		query.Set("page", page.NextToken)
	case len(page.IDs) == 0:
		return claude.Page{}, errUnreadableList
	case l.back:
		query.Set("before_id", page.IDs[0])
		query.Set("limit", strconv.Itoa(largestPage))
	default:
		query.Set("after_id", page.IDs[len(page.IDs)-1])
		query.Set("limit", strconv.Itoa(largestPage))
	}
	u.RawQuery = query.Encode()
	out := x.newRequest(ctx, a.lease)
	out.URL, out.Body, out.ContentLength, out.GetBody = &u, http.NoBody, 0, nil
	res, err := a.lease.RoundTrip(out)
	if err != nil {
		return claude.Page{}, err
	}
	defer func() { res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return claude.Page{}, fmt.Errorf("%w: status %d", verdict.ErrUnusable, res.StatusCode)
	}
	body, _, err := decoded(res.Body, res.Header.Values("Content-Encoding"))
	if err != nil {
		return claude.Page{}, err
	}
	res.Body = body
	text, err := io.ReadAll(io.LimitReader(body, maxPlainBody))
	if err != nil {
		return claude.Page{}, err
	}
	next, err := claude.ParsePage(text)
	if err != nil || next.UsesTokens != l.tokens || slices.Equal(next.IDs, page.IDs) { // an upstream that ignores the cursor
		return claude.Page{}, errUnreadableList
	}
	return next, nil
}

// render writes the client's page.
func (l *listing) render(token string) []byte {
	if l.data == nil {
		l.data = []json.RawMessage{}
	}
	set := func(name string, value any) {
		text, err := json.Marshal(value)
		if err != nil {
			text = []byte("null")
		}
		l.rest[name] = text
	}
	set("data", l.data)
	set("has_more", l.more)
	if l.tokens {
		set("next_page", nil)
		if l.more {
			set("next_page", token)
		}
	}
	for i, name := range [...]string{"first_id", "last_id"} {
		if _, there := l.rest[name]; !there && l.tokens {
			continue
		}
		set(name, nil)
		if n := len(l.ids); n > 0 {
			set(name, l.ids[i*(n-1)])
		}
	}
	text, err := json.Marshal(l.rest)
	if err != nil {
		return []byte(`{"data":[],"has_more":false,"first_id":null,"last_id":null}`)
	}
	return text
}

package proxy

import (
	"bytes"
	"net/http"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// pin is what follows from the ids that a request names: only one account knows the resource behind
// an id.
type pin struct {
	resource   claude.Resource
	isResource bool
	id         string    // the request is pinned to the account of this id; "" if it is not pinned
	unknown    []string  // ids whose account is not known
	searching  bool      // the accounts are asked one after the other for an unknown id
	conflict   [2]string // two ids of different accounts, or ""

	owned     claude.Resource // the resource with an owner that the path names: resource, or one of another API
	isOwned   bool
	refusal   *quota.Refusal // set if the request names a resource that its client key may not use
	unclaimed []string       // ids in the request that have no owner yet
}

// resolvePin finds the account that keeps what the request names, and checks whether the client key
// may use it.
func (x *exchange) resolvePin(named []string, readable bool) {
	x.pin.resource, x.pin.isResource = claude.ResourceOf(x.req.HTTP.Method, x.req.HTTP.URL)
	if x.pin.owned, x.pin.isOwned = x.pin.resource, x.pin.isResource; !x.pin.isOwned && x.isolated() {
		x.pin.owned, x.pin.isOwned = claude.CollectionOf(x.req.HTTP.Method, x.req.HTTP.URL.Path)
	}
	// The pages of a list must come from one account, and uploads must go to the account that is
	// listed: then one message can use all of it.
	x.query.InOrder = x.pin.resource.List || x.pin.resource.Upload
	if x.pin.isResource {
		named = claude.IDsInBatch(x.req.Body.bytes())
	}
	if id := x.pin.resource.ID; id != "" {
		named = append(named[:len(named):len(named)], id)
	}
	if x.pin.refusal = x.checkResources(named, readable); x.pin.refusal != nil || len(named) == 0 {
		return
	}
	accounts := x.req.Table.Accounts()
	for _, id := range named {
		owner, known := x.p.Owners.Of(id, x.req.Start)
		domain, there := x.req.Table.AccountOf(owner)
		known = known && there
		switch {
		case !known:
			x.pin.unknown = append(x.pin.unknown, id)
		case x.query.Account == nil:
			x.query.Account, x.pin.id = &domain, id
		case *x.query.Account != domain:
			x.pin.conflict = [2]string{x.pin.id, id}
		}
	}
	x.pin.searching = x.query.Account == nil && len(accounts) > 1
}

// refusePin responds to a request whose ids rule out every account. It reports whether it did.
func (x *exchange) refusePin() bool {
	switch {
	case x.pin.refusal != nil:
		x.refuse(x.pin.refusal)
	case x.pin.conflict[0] != "":
		x.entry.Outcome = ledger.Failed
		x.sendError(false, http.StatusBadRequest, 0, claude.Error{
			Type:    claude.ErrInvalidRequest,
			Message: x.pin.conflict[0] + " and " + x.pin.conflict[1] + " belong to different accounts behind claude-code-lb: one request can only use what one account keeps. Upload or create both again.",
		})
	default:
		return false
	}
	return true
}

// isElsewhere reports whether a response only means that another account keeps what the request
// names.
func (p *pin) isElsewhere(a *attempt) bool {
	if !p.searching || a.res == nil || a.claimed == nil {
		return false
	}
	switch a.res.StatusCode {
	case http.StatusNotFound:
		if p.isResource {
			return true
		}
	case http.StatusBadRequest:
	default:
		return false
	}
	for _, id := range p.unknown {
		if bytes.Contains(a.buffered, []byte(id)) {
			return true
		}
	}
	return false
}

// judgeSearch turns a "not found" during a search into a reason to ask the next account.
func (x *exchange) judgeSearch(a *attempt) {
	if a.wrongAccount = x.pin.isElsewhere(a); a.wrongAccount {
		a.outcome = verdict.Outcome{Scope: verdict.ScopeRequest, Ambiguous: true, Reason: "this account does not know " + claude.ShortenIDs(x.pin.unknown[0])}
	}
}

// searchIncomplete reports whether an account that could not be asked may keep what the request
// names. Then "not found" would be wrong.
func (x *exchange) searchIncomplete() bool {
	if !x.pin.searching {
		return false
	}
	var asked []uint64
	for _, a := range x.attempts.failed {
		if a.wrongAccount {
			asked = append(asked, a.lease.CacheScope())
		}
	}
	return slices.ContainsFunc(x.req.Table.Endpoints(), func(e *upstream.Endpoint) bool {
		return e.Weight() > 0 && !slices.Contains(asked, e.CacheScope())
	})
}

// servers names the upstreams that could serve the request, for messages to the client.
func (p *pin) servers() string {
	if p.id != "" {
		return "The account that keeps " + p.id
	}
	return "Every upstream"
}

// batchInDoubt reports whether an upstream may have created the requested batch although its
// response is missing. A second batch would run, and be billed, too.
func (x *exchange) batchInDoubt() bool {
	if !x.pin.resource.Batch || len(x.attempts.failed) == 0 {
		return false
	}
	o := x.attempts.failed[len(x.attempts.failed)-1].outcome
	return !o.Unbilled && !o.Ambiguous
}

// rememberOwner records which account keeps the resources that a good response names.
func (x *exchange) rememberOwner(a *attempt) {
	if a.res == nil || a.res.StatusCode >= http.StatusMultipleChoices {
		return
	}
	x.claim(a)
	now, owner := time.Now(), routing.OwnerAt(a.lease.Endpoint)
	if x.req.HTTP.Method == http.MethodDelete && x.pin.resource.ID != "" {
		x.p.Owners.Forget(x.pin.resource.ID)
		return
	}
	if !x.pin.isResource || x.pin.resource.ID != "" {
		x.p.Owners.Learn(owner, now, x.pin.unknown...)
	}
	if x.kind == kindResource {
		x.p.Owners.Learn(owner, now, claude.ResourceIDs(a.buffered)...)
	}
}

// rememberKept records resources that the account keeps from now on, according to a message. It
// runs before the client gets their ids, because the next request may name them at once.
func (x *exchange) rememberKept(a *attempt) {
	if n := len(a.message.ResourceIDs); n > a.ownersNoted {
		x.p.Owners.Learn(routing.OwnerAt(a.lease.Endpoint), time.Now(), a.message.ResourceIDs[a.ownersNoted:]...)
		x.claimKept(a.message.ResourceIDs[a.ownersNoted:])
		a.ownersNoted = n
	}
}

// rewriteResultsURL replaces the host in the address of a batch's results by the one that the
// client used for the balancer.
func (x *exchange) rewriteResultsURL(a *attempt) {
	if x.kind != kindResource || !a.complete || a.res.StatusCode != http.StatusOK {
		return
	}
	in, scheme := x.req.HTTP, "http"
	if in.TLS != nil || in.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	a.buffered = claude.RewriteResultsURLs(a.buffered, scheme+"://"+in.Host)
}

// bufferResource reads the description of a batch, file or skill, up to a moderate size. If it
// breaks off, only a GET may be repeated, because other methods change something.
func (a *attempt) bufferResource(method string) error {
	err := a.fillBuffer(maxErrorBody)
	if method == http.MethodGet {
		return err
	}
	return nil
}

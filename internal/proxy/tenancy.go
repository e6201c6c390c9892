package proxy

import (
	"net/http"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
)

// A resource belongs to the client key that created it, or to its group. Requests that name any
// other resource are refused before any upstream is asked, with the same message whether it exists
// or not. Resources without a known owner, which are older than this rule or were not created
// through this balancer, are refused as well, unless there is only one tenant.

// isolated reports whether the request may use only resources of its client key or the key's group.
func (x *exchange) isolated() bool { return x.req.Key != nil && !x.req.Settings.SharedResources }

// checkResources checks the ids in the body, path and query of the request. It returns nil if the
// client key may use all of them, else the refusal.
func (x *exchange) checkResources(named []string, readable bool) *quota.Refusal {
	if !x.isolated() {
		return nil
	}
	if r := x.checkUnreadable(readable); r != nil {
		return r
	}
	for _, id := range named {
		if !x.mayUse(id) {
			return notFound(id)
		}
	}
	if x.pin.isOwned {
		// Anthropic's own skills are available to every account, and their ids have no prefix.
		name := x.pin.owned.Name
		builtIn := strings.HasPrefix(strings.ToLower(x.req.HTTP.URL.Path), "/v1/skills") && !strings.ContainsAny(name, "_%")
		if name != "" && !builtIn && !x.mayUse(name) {
			return notFound(name)
		}
	}
	return x.checkOtherPlaces()
}

// checkUnreadable refuses a body that we cannot read and that may name resources of other keys. It
// allows the body while no other key has any resources.
func (x *exchange) checkUnreadable(readable bool) *quota.Refusal {
	body := x.req.Body.bytes()
	opaque := !readable && len(body) > 0 || x.req.Body.unreadable() != nil || x.req.Upload != nil && x.pin.resource.Batch
	switch {
	case !opaque || !x.p.Resources.HasOthers(x.req.Key.Tenants()...):
		return nil
	case x.req.Upload != nil && x.pin.resource.Batch:
		return &quota.Refusal{
			Status: http.StatusRequestEntityTooLarge, Type: claude.ErrTooLarge, Reason: "batch too large to check", Final: true,
			Message: `A batch above max_body_mb cannot be checked for files of other client keys: split it, or ask the operator to raise max_body_mb or to set "resources" to "shared".`,
		}
	case x.req.Body.unreadable() != nil:
		return x.req.Body.unreadable()
	case !readable && len(body) > 0 && x.req.Upload == nil && claude.MentionsResources(body):
		return &quota.Refusal{
			Status: http.StatusBadRequest, Type: claude.ErrInvalidRequest, Reason: "unreadable body", Final: true,
			Message: "The request body is not a JSON object that can be read.",
		}
	}
	return nil
}

// checkOtherPlaces refuses ids of another tenant in places in which the API is not known to name
// resources.
func (x *exchange) checkOtherPlaces() *quota.Refusal {
	u := x.req.HTTP.URL
	for _, part := range [...]string{u.Path, u.RawQuery} {
		for _, id := range claude.IDsInText(part) {
			if x.isForeign(id) {
				return notFound(id)
			}
		}
	}
	if x.req.Body.Len() == 0 {
		return nil
	}
	if path := u.Path; x.pin.isResource || path == claude.MessagesPath || path == claude.TokenCountPath {
		if x.p.Resources.HasOthers(x.req.Key.Tenants()...) {
			if id, found := claude.FindForeignID(x.req.Body.bytes(), x.isForeign); found {
				return notFound(id)
			}
		}
		return nil
	}
	for _, id := range claude.AllIDs(x.req.Body.bytes()) {
		if x.isForeign(id) {
			return notFound(id)
		}
	}
	return nil
}

// mayUse reports whether the client key may use the resource with an id.
func (x *exchange) mayUse(id string) bool {
	owner, known := x.p.Resources.Owner(id)
	switch {
	case known && x.req.Key.Owns(owner):
		x.p.Resources.Use(id, x.req.Start)
		return true
	case !known && x.req.Settings.SoleTenant:
		x.pin.unclaimed = append(x.pin.unclaimed, id)
		return true
	}
	return false
}

// isForeign reports whether a resource is known to belong to another tenant.
func (x *exchange) isForeign(id string) bool {
	if !strings.Contains(id, "_") {
		return false
	}
	owner, known := x.p.Resources.Owner(id)
	return known && !x.req.Key.Owns(owner)
}

// notFound is the refusal for an id that the client key does not own, whether the resource exists
// or not.
func notFound(id string) *quota.Refusal {
	const longest = 200
	if len(id) > longest {
		id = id[:longest]
	}
	return &quota.Refusal{Status: http.StatusNotFound, Type: claude.ErrNotFound, Reason: "resource does not belong to the client key", Message: "Not found: " + id, Final: true}
}

// claim records the resources that the client key created, according to a good response.
func (x *exchange) claim(a *attempt) {
	method, r := x.req.HTTP.Method, x.pin.owned
	if method == http.MethodDelete && r.Name != "" && r.Action == "" {
		x.p.Resources.Forget(r.Name)
		return
	}
	if x.req.Key == nil {
		return
	}
	tenant, now := x.req.Key.Tenant(), time.Now()
	if x.pin.isOwned && x.kind == kindResource && method == http.MethodPost && (r.Name == "" || r.Action == "versions") {
		x.p.Resources.Claim(tenant, now, claude.CreatedID(a.buffered)...)
	}
	if x.isolated() && x.req.Settings.SoleTenant {
		x.p.Resources.ClaimUnowned(tenant, now, x.pin.unclaimed...)
		if x.kind == kindResource {
			x.p.Resources.ClaimUnowned(tenant, now, claude.ResourceIDs(a.buffered)...)
		}
	}
}

// buffersForTenancy reports whether a response must be buffered that is not read otherwise: a list,
// which may have elements of other keys, or a created resource, whose id is recorded.
func (x *exchange) buffersForTenancy() bool {
	r, method := x.pin.owned, x.req.HTTP.Method
	return x.isolated() && x.pin.isOwned && (r.List || method == http.MethodPost && r.Name == "")
}

// claimKept records the resources that a message created: a container, and files made in it.
func (x *exchange) claimKept(ids []string) {
	if x.req.Key != nil {
		x.p.Resources.ClaimUnowned(x.req.Key.Tenant(), time.Now(), ids...)
	}
}

// claimResult does the same for a message among the results of a batch.
func (x *exchange) claimResult(a *attempt, ids []string) {
	if len(ids) > 0 {
		x.p.Owners.Learn(routing.OwnerAt(a.lease.Endpoint), time.Now(), ids...)
		x.claimKept(ids)
	}
}

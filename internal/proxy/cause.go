package proxy

import (
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// commonCause returns the cause that all failed attempts share, CauseOther if they do not.
func (f failures) commonCause() verdict.Cause {
	if len(f) > 0 && f.all(func(a *attempt) bool { return a.outcome.Cause == f[0].outcome.Cause }) {
		return f[0].outcome.Cause
	}
	return verdict.CauseOther
}

// lackModel reports whether the model is missing at every upstream that accepts our credential and
// account.
func (f failures) lackModel() bool {
	lacks := func(a *attempt) bool { return a.outcome.Cause == verdict.CauseNoModel }
	return slices.ContainsFunc(f, lacks) && f.all(func(a *attempt) bool { return lacks(a) || a.refusedUs() })
}

// cooldownCause returns the common cause of the cooldowns of all upstreams in use, CauseOther when
// they differ.
func (x *exchange) cooldownCause() verdict.Cause {
	now, common, found := time.Now(), verdict.CauseOther, false
	for _, e := range x.req.Table.Endpoints() {
		v := e.View(now, x.query.Subject)
		switch {
		case v.Unfit == upstream.Draining:
			continue
		case v.Unfit != upstream.Cooling && v.Unfit != upstream.Probing, found && v.Cause != common:
			return verdict.CauseOther
		}
		common, found = v.Cause, true
	}
	return common
}

// describe returns what every upstream did and where to look. It names no address, because clients
// see it.
func describe(c verdict.Cause) string {
	switch c {
	case verdict.CauseRefused:
		return "refused the connection: check that the servers run, and their url"
	case verdict.CauseName:
		return "has a host name that cannot be found: check the servers' url, and DNS"
	case verdict.CauseTLS:
		return "failed in the TLS handshake: check the certificates, and whether the servers' url must begin with http or https"
	case verdict.CauseTimeout:
		return "did not answer in time"
	case verdict.CausePage:
		return "answered with a web page in place of the API, such as a challenge for browsers, a login or an error page: open the servers' url in a browser"
	case verdict.CauseNoRoute:
		return "does not offer /v1/messages: check the path in the servers' url"
	}
	return "failed"
}

// describeRefusals returns why every upstream refused our credentials or accounts, if no upstream's
// own message can be shown.
func (f failures) describeRefusals(unavailable *routing.Unavailable) string {
	credentials, accounts := 0, 0
	for _, a := range f {
		if a.outcome.Scope == verdict.ScopeCredential {
			credentials++
		} else {
			accounts++
		}
	}
	switch {
	case f.commonCause() == verdict.CauseNoCredit:
		return "has no credit or quota left: top up the servers' accounts"
	case credentials == 0 && accounts > 0, unavailable != nil && unavailable.Mildest == upstream.AccountOut:
		return "refused its account (no credit, a limit, or disabled): check the servers' accounts"
	case accounts == 0:
		return "refused its credential: check the servers' tokens"
	}
	return "refused its credential or account: check the servers' tokens and accounts"
}

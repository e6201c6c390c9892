package config

import (
	"net/url"
	"time"
)

// Event is something that a Webhook can tell of.
type Event string

// The events.
const (
	EventServerOut       Event = "server_out"
	EventServerBack      Event = "server_back"
	EventAllServersOut   Event = "all_servers_out"
	EventBalanceLow      Event = "balance_low"
	EventBalanceRestored Event = "balance_restored"
	EventBudget80        Event = "budget_80"
	EventBudget100       Event = "budget_100"
	EventCacheCollapsed  Event = "cache_collapsed"
	EventReloadFailed    Event = "reload_failed"
	EventLedgerDegraded  Event = "ledger_degraded"
)

// WebhookFormat is the shape of what is sent to a webhook.
type WebhookFormat string

// The formats.
const (
	WebhookJSON     WebhookFormat = "json" // Standard Webhooks
	WebhookSlack    WebhookFormat = "slack"
	WebhookFeishu   WebhookFormat = "feishu"
	WebhookDingTalk WebhookFormat = "dingtalk"
	WebhookWeCom    WebhookFormat = "wecom"
)

// Webhook is an address that is told of events.
type Webhook struct {
	// URL is a Secret because the addresses of chats are their own credential.
	URL         Secret        `name:"url" required:"true" doc:"Address to POST to, http or https. It is never shown, for most hold a token."`
	Events      []Event       `name:"events" omit:"zero" enum:"server_out,server_back,all_servers_out,balance_low,balance_restored,budget_80,budget_100,cache_collapsed,reload_failed,ledger_degraded" doc:"What to tell of. Without it everything."`
	Format      WebhookFormat `name:"format" default:"json" enum:"json,slack,feishu,dingtalk,wecom" doc:"Shape of the messages: 'json' for programs, by the Standard Webhooks specification, or that of a chat."`
	Secret      Secret        `name:"secret" omit:"zero" doc:"Key to sign the messages with, for 'json' ('whsec_…', or any text), 'dingtalk' and 'feishu'."`
	MinInterval time.Duration `name:"min_interval" omit:"zero" default:"5m" doc:"Shortest time between two messages of one event about the same server or client key. What happened in between is told in one message at its end. 0 tells everything at once."`
}

// Host is the host of the URL with its port, which may be shown.
func (w Webhook) Host() string {
	u, err := url.Parse(w.URL.Reveal())
	if err != nil {
		return ""
	}
	return u.Host
}

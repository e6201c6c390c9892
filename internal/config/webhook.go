package config

import (
	"net/url"
	"time"
)

// Event is the kind of an event that a Webhook can receive.
type Event string

// The kinds of events.
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

// WebhookFormat is the format of messages to a webhook.
type WebhookFormat string

// The formats.
const (
	WebhookJSON     WebhookFormat = "json" // Standard Webhooks
	WebhookSlack    WebhookFormat = "slack"
	WebhookFeishu   WebhookFormat = "feishu"
	WebhookDingTalk WebhookFormat = "dingtalk"
	WebhookWeCom    WebhookFormat = "wecom"
)

// Webhook is an address that receives events.
type Webhook struct {
	// URL is a Secret because the addresses of chats are credentials.
	URL         Secret        `name:"url" required:"true" doc:"Address to POST to, http or https. It is never shown, because most addresses contain a token."`
	Events      []Event       `name:"events" omit:"zero" enum:"server_out,server_back,all_servers_out,balance_low,balance_restored,budget_80,budget_100,cache_collapsed,reload_failed,ledger_degraded" doc:"Events to send. By default all events."`
	Format      WebhookFormat `name:"format" default:"json" enum:"json,slack,feishu,dingtalk,wecom" doc:"Format of the messages: 'json' for programs (Standard Webhooks specification), or the format of a chat service."`
	Secret      Secret        `name:"secret" omit:"zero" doc:"Key to sign the messages with, for 'json' ('whsec_…', or any text), 'dingtalk' and 'feishu'."`
	MinInterval time.Duration `name:"min_interval" omit:"zero" default:"5m" doc:"Shortest time between two messages about the same event and the same server or client key. Events in between are summed up in one message at its end. 0 sends every message at once."`
}

// Host returns the host of the URL with its port, which is not secret.
func (w Webhook) Host() string {
	u, err := url.Parse(w.URL.Reveal())
	if err != nil {
		return ""
	}
	return u.Host
}

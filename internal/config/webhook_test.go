package config

import (
	"strings"
	"testing"
	"time"
)

func TestWebhooks(t *testing.T) {
	f := func(webhooks string, want ...string) *Config {
		t.Helper()
		cfg, problems := Decode("c.json", []byte(`{"servers":[{"url":"https://a.example","token":"t"}],"webhooks":[`+webhooks+`]}`), func(string) (string, bool) { return "", false })
		var got []string
		for _, p := range problems {
			got = append(got, p.Path+" "+p.Msg)
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s:\ngot  %q\nwant %q", webhooks, got, want)
		}
		if strings.Contains(strings.Join(got, "\n"), "s3cr3t") {
			t.Errorf("a problem shows a secret: %q", got)
		}
		return cfg
	}
	cfg := f(`{"url":"https://hooks.example:8443/T/s3cr3t"}, {"url":"https://oapi.dingtalk.com/robot/send?access_token=s3cr3t","format":"dingtalk","secret":"SECs3cr3t","events":["server_out","budget_100"],"min_interval":"90s"}`)
	if w := cfg.Webhooks[0]; w.Format != WebhookJSON || w.MinInterval != 5*time.Minute || w.Events != nil || w.Host() != "hooks.example:8443" || len(w.SigningKey()) != 0 {
		t.Errorf("%+v", w)
	}
	if w := cfg.Webhooks[1]; w.Format != WebhookDingTalk || w.MinInterval != 90*time.Second || len(w.Events) != 2 || w.Events[1] != EventBudget100 {
		t.Errorf("%+v", w)
	}
	if shown := string(cfg.Redacted()); strings.Contains(shown, "s3cr3t") || !strings.Contains(shown, `"server_out"`) {
		t.Errorf("%s", shown)
	}
	key := f(`{"url":"https://a.example/","secret":"whsec_AQID"}`).Webhooks[0].SigningKey()
	if string(key) != "\x01\x02\x03" {
		t.Errorf("key %v", key)
	}

	f(`{"format":"slack"}`, "webhooks[0].url is missing")
	f(`{"url":"","events":["server_off"]}`, "webhooks[0].url is empty",
		`webhooks[0].events[0] "server_off" is not one of server_out, server_back, all_servers_out, balance_low, balance_restored, budget_80, budget_100, cache_collapsed, reload_failed, ledger_degraded, did you mean "server_out"?`)
	f(`{"url":"https://a.example/","events":["server_out","server_out"]}`, "webhooks[0].events[1] is written twice: remove one")
	f(`{"url":"https://a.example/","events":"server_out"}`, "webhooks[0].events must be a list, [ … ], not a string")
	f(`{"url":"https://a.example/","format":"feishuu"}`, `webhooks[0].format "feishuu" is not one of json, slack, feishu, dingtalk, wecom, did you mean "feishu"?`)
	f(`{"url":"hooks.example/s3cr3t"}`, "webhooks[0].url must begin with https:// or http://")
	f(`{"url":"https:///s3cr3t"}`, "webhooks[0].url has no host")
	f(`{"url":"https://user:s3cr3t@a.example"}`, "webhooks[0].url must not hold a user or password")
	f(`{"url":"https://a.example/ s3cr3t"}`, "webhooks[0].url holds a blank or a line break: remove it")
	f(`{"url":"https://a.example:s3cr3t/"}`, "webhooks[0].url is not a URL: its port is not a number")
	f(`{"url":"http://a.example/s3cr3t"}`, "webhooks[0].url sends messages, and the token that it may hold, unencrypted: use https:// if the receiver offers it")
	f(`{"url":"http://127.0.0.1:9/s3cr3t"}`)
	f(`{"url":"https://a.example/","format":"wecom","secret":"s3cr3t"}`, "webhooks[0].secret is ignored with format wecom: the address is the credential")
	f(`{"url":"https://a.example/","secret":"whsec_s3cr3t!"}`, "webhooks[0].secret begins with whsec_, but what follows is not base64")
	f(`{"url":"https://a.example/s3cr3t"},{"url":"https://a.example/s3cr3t"}`, "webhooks[1].url is the address of webhooks[0]: write all its events there")
}

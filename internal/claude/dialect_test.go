package claude

import (
	"strings"
	"testing"
)

// TestDialects lists real refusals of vendors and relays, and what they mean.
func TestDialects(t *testing.T) {
	const model = "claude-haiku-4-5"
	f := func(want Meaning, bodies ...string) {
		t.Helper()
		for _, body := range bodies {
			if got := ReadRefusal([]byte(strings.ReplaceAll(body, "MODEL", model))).Classify(model); got.Meaning != want {
				t.Errorf("%s: %v (%s), want %v", body, got.Meaning, got.Dialect, want)
			}
		}
	}
	anthropic := func(kind, message string) string {
		return `{"type":"error","error":{"type":"` + kind + `","message":"` + message + `"}}`
	}
	invalid := func(message string) string { return anthropic("invalid_request_error", message) }

	f(ModelUnavailable,
		`{"error":{"code":"model_not_found","message":"No available channel for model MODEL under group default (distributor)","type":"new_api_error"}}`,
		`{"error":{"message":"当前分组 default 下对于模型 MODEL 无可用渠道 (request id: 2025)","type":"new_api_error"}}`,
		`{"error":{"message":"分组 vip 下模型 MODEL 的可用渠道不存在（数据库一致性已被破坏）","type":"one_api_error"}}`,
		`{"error":{"message":"The model `+"`MODEL`"+` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}`,
		`{"error":{"message":"The model `+"`MODEL`"+` does not exist","type":"invalid_request_error"}}`,
		`{"error":"model 'MODEL' not found"}`,
		`{"message":"model MODEL is not supported"}`,
		`{"error":{"message":"model MODEL is not supported by this group"}}`,
		`{"error":{"message":"Model Not Exist","type":"invalid_request_error"}}`,
		`{"error":{"code":"1211","message":"模型不存在，请检查模型代码。"}}`,
		`{"error":{"type":"unsupported_model","message":"x"}}`,
		`{"code":400,"msg":"不支持该模型"}`,
		`{"error":{"message":"该令牌无权访问模型 MODEL"}}`,
		`{"detail":"Unsupported model: MODEL"}`,
		`{"error":{"message":"No endpoints found for anthropic/MODEL.","code":404}}`,
		`{"error":{"message":"anthropic/MODEL is not a valid model ID","code":400}}`,
		`{"errors":[{"message":"unknown model"}]}`,
		`{"success":false,"message":"No available accounts support the requested model: MODEL"}`,
		`{"message":"The provided model identifier is invalid."}`, `{"error":{"message":"No available Claude accounts support the requested model: MODEL"}}`,
		invalid("MODEL is not available on your plan"),
		`{"errorCode":"ModelNotOpen","errorMessage":"x"}`,
		`{"error":{"message":"Your account does not have access to model MODEL"}}`,
		anthropic("new_api_error", "No available channel for model MODEL under group x"),
	)
	f(ModelUnavailable,
		`{"error":{"message":"{'error': '/messages: Invalid model name passed in model=MODEL. Call `+"`/v1/models`"+` to view available models for your key.'}","type":"None","param":"None","code":"400"}}`,
		`[{"error":{"code":404,"message":"Publisher Model `+"`projects/x/models/MODEL`"+` was not found or your project does not have access to it.","status":"NOT_FOUND"}}]`,
		`{"message":"The provided model identifier is invalid."}`, `{"message":"This model version has reached the end of its life."}`,
		`{"message":"Invocation of model ID MODEL with on-demand throughput isn’t supported."}`,
		`{"error":{"type":"forbidden","message":"Model not allowed"}}`, `{"error":"Forbidden","message":"暂无该模型访问权限"}`, `{"error":{"message":"模型 MODEL 未配置"}}`,
		`{"error":{"message":"Model MODEL not supported when using Codex with a ChatGPT account"}}`, `{"detail":"unsupported value for model: MODEL"}`,
		invalid("MODEL is not supported"), invalid("'MODEL' is not available on your plan"), invalid("MODEL is currently unavailable."), invalid("`MODEL` not found"),
	)
	f(LongContextUnavailable, invalid("Extra usage is required for long context requests."), invalid("Long context requires extra usage"), invalid("Extra usage is required for 1M context."),
		invalid("1M context is not available for this account"), invalid("The long context beta is not yet available for this subscription."),
		invalid("This request would exceed your rate limit for long context requests"))
	f(QuotaExhausted, `{"error":{"message":"没有可用的订阅"}}`)
	f(Overloaded, `{"code":400,"msg":"系统繁忙，请稍后再试"}`)
	f(Unclassified, invalid("MODEL: extended thinking is not supported"), invalid("MODEL is not allowed to be combined with tools"), invalid("thinking is not supported by MODEL"),
		invalid("MODEL is not supported with this beta"), invalid("'thinking' is not supported"), `[{"error":{}},{"error":{}}]`, `[]`, `[`)
	f(QuotaExhausted,
		`{"error":{"message":"Insufficient Balance","type":"unknown_error","code":"invalid_request_error"}}`,
		`{"error":{"message":"用户额度不足, 剩余额度: ＄-0.01","type":"new_api_error","code":"insufficient_user_quota"}}`,
		`{"error":{"message":"[sk-***] 该令牌额度已用尽 !token.UnlimitedQuota","type":"one_api_error"}}`,
		`{"error":{"message":"pre-consume quota failed, user quota: 0.1, need quota: 0.2"}}`,
		`{"error":{"message":"预扣费额度失败, 用户剩余额度: 0.1, 需要预扣费额度: 0.2"}}`,
		`{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","code":"insufficient_quota"}}`,
		`{"code":1113,"msg":"您的账户已欠费，请充值后重试"}`,
		`{"error":{"code":"1113","message":"余额不足或无可用资源包,请充值。"}}`,
		`{"success":false,"message":"账户余额不足"}`,
		`{"message":"quota exhausted"}`, `insufficient balance`, `{"detail":"Insufficient credits"}`,
		`{"error":{"message":"Budget has been exceeded! Current cost: 5.1, Max budget: 5.0","type":"budget_exceeded","code":"400"}}`,
		`{"error":"Forbidden","message":"Daily cost limit reached"}`,
		`{"error":{"message":"Key limit exceeded (total limit). Manage it at https://openrouter.ai","code":403}}`,
		invalid("You're out of extra usage. Add more at claude.ai/settings/usage and keep going."),
		anthropic("<nil>", "您的额度已用完"),
	)
	f(RateLimited, `{"error":{"message":"Quota exceeded for requests per minute"}}`, `{"msg":"请求过于频繁"}`, `too many requests`)
	f(Overloaded, `{"error":{"message":"当前分组上游负载已饱和，请稍后再试","type":"new_api_error"}}`, `{"error":{"code":"1305","message":"该模型当前访问量过大，请您稍后再试"}}`,
		`{"error":{"type":"engine_overloaded_error","message":"x"}}`)
	f(RelayFailed,
		`{"error":{"message":"Error from provider: Upstream request failed","type":"invalid_request_error"}}`,
		`{"error":{"message":"bad response status code 503","type":"upstream_error","code":"bad_response_status_code"}}`,
		`{"error":{"message":"do request failed","type":"new_api_error","code":"do_request_failed"}}`,
		`{"error":{"message":"Provider returned error","code":400}}`,
		`{"error":{"message":"上游服务返回错误"}}`, `{"message":"upstream error"}`, `upstream connect error`,
		`{"error":{"message":"dial tcp: lookup failed","type":"one_api_error"}}`,
		`{"error":{"message":"Failed to get a response from upstream"}}`, invalid("Error: 503 from upstream"), `{"error":{"message":"The server had an error while processing your request"}}`,
		invalid("Upstream request failed"),
	)
	f(RelayRefused, `{"error":{"message":"anything","type":"new_api_error"}}`, `{"error":{"message":"无权访问 default 分组","type":"new_api_error"}}`)
	f(PathUnavailable,
		`{"error":{"message":"Invalid URL (POST /v1/messages)","type":"invalid_request_error","param":"","code":""}}`,
		`404 page not found`, `{"detail":"Not Found"}`, `{"message":"no Route matched with those values"}`, `{"statusCode":404,"message":"Cannot POST /v1/messages","error":"Not Found"}`,
		`{"timestamp":"x","status":404,"error":"Not Found","message":"No static resource v1/messages.","path":"/v1/messages"}`, `{"detail":"Method Not Allowed"}`,
	)
	f(LongContextUnavailable, anthropic("rate_limit_error", "Extra usage is required for long context requests."), invalid("The long context beta is not yet available for this subscription."))
	f(PolicyBlocked, anthropic("policy_blocked", "blocked by policy: insufficient balance"), `{"error":{"code":"policy_blocked"}}`)
	f(InvalidRequest,
		invalid("prompt is too long: 210000 tokens > 200000 maximum"),
		invalid("messages.1.content.0: Invalid signature in thinking block"),
		invalid("tools.0.custom.name: insufficient balance"),
		`{"error":{"type":"upstream_error","message":"prompt is too long: 5 > 4"}}`,
	)
	f(Unclassified,
		invalid("model: MODEL is not supported with this beta"),
		invalid("The model MODEL is not supported with this beta"),
		invalid("This model does not support effort"),
		invalid("thinking is not supported for this model"),
		invalid("Unexpected value(s) `insufficient balance` for the header"),
		invalid("tool 'model x does not exist' is no name"),
		invalid("MODEL is not supported with this beta"), invalid("adaptive thinking is not supported on this model"),
		anthropic("authentication_error", "invalid x-api-key"),
		anthropic("rate_limit_error", "This request would exceed your account's limit. Please try again later."),
		anthropic("not_found_error", "Previous message was not found"),
		`{"error":{"message":"该模型不支持图片输入"}}`,
		"", "{}", "null", "[]", "<html>insufficient balance</html>", "{broken",
	)

	// The client chose the name of the model.
	if got := (ReadRefusal([]byte(invalid("unexpected: out of credits")))).Classify("out of credits"); got.Meaning != Unclassified {
		t.Errorf("a model's name means %v", got.Meaning)
	}
}

func TestReadRefusal(t *testing.T) {
	f := func(body string, enveloped, page bool, codes int, text string) {
		t.Helper()
		r := ReadRefusal([]byte(body))
		if r.Enveloped != enveloped || r.Page != page || len(r.Codes) != codes || r.Text != text {
			t.Errorf("%s: %+v", body, r)
		}
	}
	f(`{"type":"error","error":{"type":"not_found_error","message":"X"}}`, true, false, 2, "x")
	f(`{"error":{"type":"not_found_error","message":"X"}}`, false, false, 1, "x")
	f(`{"type":"about:blank","title":"Not Found","status":404,"detail":"D"}`, false, false, 1, "not found\nd")
	f(`{"detail":[{"loc":["body"],"msg":"M"}]}`, false, false, 0, "m")
	f(`{"errors":["A",{"message":"B","code":7}]}`, false, false, 1, "b")
	f("\ufeff <!DOCTYPE html>", false, true, 0, "")
	f("Plain", false, false, 0, "plain")
	f("{broken", false, false, 0, "{broken")
}

// FuzzReadRefusal checks that reading any body stays within bounds and is deterministic.
func FuzzReadRefusal(f *testing.F) {
	f.Add([]byte(`{"error":{"code":"model_not_found","message":"x 'y"}}`), "m")
	f.Add([]byte(`{"errors":[{"detail":{"msg":"余额不足"}}]}`), "余额不足")
	f.Add([]byte("<html>"), "")
	f.Add([]byte("it's a 'test"), "test")
	f.Fuzz(func(t *testing.T, body []byte, model string) {
		r := ReadRefusal(body)
		if len(r.Codes) > maxRefusalTexts || r.Page && r.Text != "" {
			t.Errorf("%+v", r)
		}
		if got := r.Classify(model); got != r.Classify(model) || (got.Meaning == Unclassified) != (got.Dialect == "") {
			t.Errorf("%+v", got)
		}
	})
}

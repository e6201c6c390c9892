package claude

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Meaning is the meaning of a refusal, independent of the wording of a vendor or relay.
type Meaning uint8

// The meanings of a refusal.
const (
	Unclassified           Meaning = iota // unknown: the status decides
	InvalidRequest                        // the request itself is not valid, regardless of the rest of the text
	PolicyBlocked                         // a policy of the vendor or gateway forbids the prompt; no retry elsewhere (gateway protocol)
	LongContextUnavailable                // the account may not use the long context
	ModelUnavailable                      // the model is not available there
	RateLimited                           // a rate limit
	QuotaExhausted                        // balance, credit or quota of the account is used up
	Overloaded                            // the service is overloaded
	PathUnavailable                       // the path is not served there
	RelayFailed                           // the relay's own request to its upstream failed
	RelayRefused                          // a relay refused without a reason
)

var meaningNames = [...]string{
	"", "fault of the request", "policy", "long context not available", "model not available", "rate limit", "no balance or quota left", "overloaded", "path not served", "failure behind the relay", "unclear refusal of a relay",
}

// String returns a short description, for logs.
func (m Meaning) String() string { return meaningNames[m] }

// dialect is one vendor's wording of a meaning. It matches a refusal that has one of the codes, or
// whose text matches one of the phrases.
//
// The text is in lower case, without quoted parts and without the name of the requested model: both
// contain the client's words and prove nothing.
type dialect struct {
	name    string // of the vendors and programs that use it
	meaning Meaning
	codes   []string
	phrases []string // regular expressions
}

// dialects lists the known wordings. Codes are tried before phrases, and then the first matching
// entry counts. The order matters: a relay that lacks a model may also mention a quota.
var dialects = [...]dialect{
	{name: "Anthropic", meaning: InvalidRequest, phrases: []string{
		// Validation errors begin with the path of the field.
		`^(messages|system|tools|tool_choice|max_tokens|metadata|thinking|temperature|top_p|top_k|stop_sequences|stream|mcp_servers|container|context_management|output_config|output_format|service_tier|speed|betas|thread|cache_control|safeguards|inference_geo|fallbacks|tags|resumption)\b[\w.\[\]-]*: `,
		`prompt is too long`, `input is too long`, `extra inputs are not permitted`, `capability_rejected:`, `bound to a different conversation`,
	}},
	{name: "content filters", meaning: InvalidRequest, codes: []string{"content_filter", "content_policy_violation", "sensitive_words_detected", "prompt_blocked"}},
	{name: "gateways", meaning: PolicyBlocked, codes: []string{"policy_blocked"}},
	{name: "Anthropic", meaning: LongContextUnavailable, phrases: []string{
		`\bextra usage is (required|needed)\b.{0,30}` + longContext, longContext + `.{0,40}\b(requires?|needs?) (extra usage|usage credits)\b`,
		longContext + `.{0,30}\b(is |are )?(not (yet )?(available|enabled|supported|included|allowed)|unavailable|disabled)\b`,
		`\brate limits?\b.{0,30}` + longContext,
	}},
	{name: "OpenAI and relays", meaning: ModelUnavailable,
		codes: []string{
			"model_not_found", "model_not_exist", "model_not_exists", "model_not_available", "model_not_supported", "model_not_allowed", "model_unavailable", "model_unsupported",
			"unsupported_model", "unknown_model", "invalid_model", "invalid_model_id", "modelnotfound", "modelnotopen", "modelnotexist", "model_access_denied", "no_available_model",
			"deploymentnotfound", "invalidendpointormodel.notfound", "resourcenotfoundexception.model",
		},
		phrases: []string{
			`\bno (available |enabled |healthy |suitable )?(\w+ )?(channel|account|provider|endpoint|deployment|upstream|server|node|key)s?\b[^.\n]{0,60}\bmodel\b`, `\bno endpoints found for\b`,
			`\bmodel\b.{0,80}\b(does not|doesn't|not) exist`,
			`\bmodel\b.{0,80}\bnot found\b`,
			`\bmodel\b.{0,80}\b(is|was|has been) (retired|deprecated|removed|decommissioned|disabled|not enabled|not activated|unavailable|not available|no longer available)\b`,
			`\bmodel\b.{0,80}\b(is )?(not supported|unsupported)\s*($|[.,;(\n]|` + locationPhrase + `)`,
			`\b(unsupported|unknown|invalid|unrecognized) model\b`, `\b(unsupported|unknown|invalid) value for (the )?(field |parameter )?model\b`,
			`\bmodel (id|identifier|name)\b.{0,40}\b(invalid|not valid|not recognized|unknown)\b`, `\bmodel\b.{0,40}\breached (the |its )?end of (its )?life\b`,
			`\bon-demand throughput\b`, `\bmodel (is )?not (allowed|permitted|accessible)\b`, `\bmodel\b.{0,80}\bnot supported when using codex\b`,
			modelPlaceholder + `\s*(is |was |has been )?(currently |temporarily )?(not (currently |yet )?(supported|available|found|allowed|enabled|accessible)|unsupported|unavailable|retired|deprecated)\b\s*($|[.,;!(\n]|here\b|` + locationPhrase + `)`,
			`\bnot a (valid|supported) model\b`,
			`\b(no|not have|without|denied) (access|permission)\b.{0,30}\bmodel\b`,
			`\bnot (allowed|authorized|permitted) to (use|access|call)\b.{0,30}\bmodel\b`,
			`\bno allowed providers are available\b`,
		}},
	{name: "new-api and one-api", meaning: ModelUnavailable, phrases: []string{
		`模型.{0,120}(不存在|无可用|不可用|没有可用|未开通|未启用|已下线|已下架|未找到|暂未开放)`,
		`模型.{0,120}(不支持|无权访问|无权使用)\s*($|[，。,.!！（(\n])`,
		`(不支持|无权访问|无权使用|未找到|找不到|没有找到|未知|无效).{0,12}模型`,
		`(暂无|没有|无).{0,6}模型.{0,8}权限`, `模型.{0,120}(未配置|没有权限|暂无权限)`,
		`(无可用渠道|没有可用.{0,6}(渠道|账号|账户)).{0,60}模型`,
	}},
	{name: "OpenAI and relays", meaning: QuotaExhausted, codes: []string{
		"insufficient_quota", "insufficient_user_quota", "insufficient_token_quota", "insufficient_balance", "insufficient_credit", "insufficient_credits", "insufficient_funds",
		"pre_consume_token_quota_failed", "pre_consume_quota_failed", "quota_exhausted", "quota_not_enough", "token_quota_exhausted", "exceeded_current_quota_error", "billing_hard_limit_reached",
		"billing_not_active", "budget_exceeded", "arrearage", "accountoverdue", "accountoverdueerror", "out_of_credits", "credits_exhausted", "payment_required", "balance_not_enough",
		"daily_limit_exceeded", "weekly_limit_exceeded", "monthly_limit_exceeded", "usage_limit_exceeded", "usage_limit_reached",
	}},
	{name: "any", meaning: RateLimited, phrases: []string{
		`\b(requests?|tokens?|calls?)[ _](per|/)[ _]?(second|minute|min)\b`, `\bper[ _](second|minute)\b`, `\brate.?limit`, `too many requests`, `\b(rpm|tpm|qps)\b`, `请求(过于)?频繁|速率限制|频率限制`,
	}},
	{name: "OpenAI and relays", meaning: QuotaExhausted, phrases: []string{
		`\binsufficient[ _-]+(account |user |token |remaining )?(balance|quota|credits?|funds)\b`,
		`\b(balance|quota|credits?|funds)\b.{0,30}\b(insufficient|exhausted|depleted|used up|exceeded|ran out|run out|not enough|not sufficient|is zero)\b`,
		`\b(exceeded|exhausted|used up|ran out of|run out of|out of|not enough|no remaining|no)\b (your |the |all |any )?(current |available |remaining |account |daily |weekly |monthly )*(quota|credits?|balance|funds|extra usage)\b`,
		`\bpre-?consum\w*\b.{0,40}\bquota\b`,
		`\b(top.?up|recharge) (your )?(account|balance|credits?)\b`,
		`\baccount\b.{0,30}\b(in arrears|overdue)\b`,
		`\b(daily|weekly|monthly|hourly|total|5.?hour) (cost|spend\w*|usage|quota|budget|credit|token)s? (limit |quota |cap )?(has been |was |is )?(reached|exceeded|exhausted)\b`,
		`\b(usage|key|spend\w*|cost) limit (has been |was |is )?(reached|exceeded|exhausted)\b`, `\bbudget has been exceeded\b`, `\bdraw from (your )?extra usage\b`,
	}},
	{name: "new-api, one-api and Chinese vendors", meaning: QuotaExhausted, phrases: []string{
		`余额.{0,12}(不足|耗尽|用完|用尽|不够|为 ?0|为零)`, `(额度|配额|限额|点数|积分).{0,16}(不足|用尽|用完|耗尽|不够|超出|超过|已达|达到|上限)`, `(用尽|用完|耗尽|超出|超过|达到).{0,12}(额度|配额|限额|使用上限)`,
		`预扣费`, `欠费`, `请.{0,6}充值`, `(套餐|订阅).{0,10}(到期|过期|用完|用尽|耗尽)`, `(没有|无)(可用|有效)?的?(订阅|套餐)`, `使用上限`,
	}},
	{name: "relays", meaning: Overloaded,
		codes:   []string{"engine_overloaded_error", "server_overloaded", "model_overloaded", "overloaded"},
		phrases: []string{`负载已?(经)?饱和`, `访问量过大`, `(系统|服务器?|模型)(繁忙|过载|正忙)`, `\b(engine|model|service|upstream)\b.{0,30}\b(overloaded|saturated|at capacity)\b`},
	},
	{name: "relays", meaning: RelayFailed,
		codes: []string{
			"bad_response_status_code", "bad_response", "bad_response_body", "read_response_body_failed", "do_request_failed", "get_channel_failed", "empty_response", "upstream_error",
			"upstream_request_failed", "upstream_timeout", "upstream_unavailable", "invalid_upstream_response", "provider_error", "channel_error", "econnrefused", "econnreset", "etimedout",
		},
		phrases: []string{
			`\bupstream\b.{0,30}\b(error|fail\w*|time[d ]?.?out|unavailable|returned|responded|refused|unreachable)\b`, `\b(error|fail\w*|response|status|[45]\d\d) (from|by) (the |an )?(provider|upstream|channel)\b`, `\binternal server error\b`, `\bserver had an error\b`, `\bprovider returned (an )?error\b`,
			`\b(bad|invalid|unexpected|empty) response\b.{0,30}\b(status|upstream|provider|channel)\b`, `\bbad response status code\b`, `\bdo request failed\b`,
			`\bfailed to (forward|proxy|relay|reach|connect|send)\b`, `\ball (channels|accounts|providers|upstreams|keys) (failed|are unavailable|unavailable|exhausted)\b`,
			`上游.{0,12}(错误|失败|异常|超时|返回|无响应)`, `请求上游`, `\b(fetch failed|socket hang up|dial tcp|context deadline exceeded|econnrefused|econnreset|etimedout)\b`, `\bconnection (refused|reset|timed out)\b`,
		}},
	{name: "web frameworks", meaning: PathUnavailable,
		codes: []string{"route_not_found", "url.not_found"},
		phrases: []string{
			`\binvalid url \(`, `\bno route matched\b`, `\bcannot (post|get|put) /`, `\bpage not found\b`, `\b404:? not found\b`, `^not found\.?$`, `\bmethod not allowed\b`, `\bno (static resource|handler found|mapping for|such route)\b`,
			`\b(route|path|endpoint|url|resource|requested url)\b.{0,60}\b(not found|not exist|unknown)\b`, `\bunknown (request )?(url|endpoint|path|route)\b`,
		}},
	// new-api and similar programs use these codes for errors of any kind.
	{name: "new-api and one-api", meaning: RelayRefused, codes: []string{"new_api_error", "one_api_error", "shell_api_error", "rix_api_error", "bad_gateway"}},
}

// longContext matches the context window of a million tokens.
const longContext = `\b(long.context|1 ?m(illion)?[ -](tokens? )?context)\b`

// locationPhrase matches the place where something is not available.
const locationPhrase = `(by|on|in|under|for|with) (this|the|your|our|any|current)\s+\w*\s*(group|channel|account|key|token|provider|endpoint|server|plan|subscription|api|platform|gateway|relay|region|project|upstream)\b`

// compiledPhrases returns the compiled phrases of each dialect.
var compiledPhrases = sync.OnceValue(func() [][]*regexp.Regexp {
	book := make([][]*regexp.Regexp, len(dialects))
	for i, d := range dialects {
		for _, phrase := range d.phrases {
			book[i] = append(book[i], regexp.MustCompile(phrase))
		}
	}
	return book
})

// Classification is the meaning of a refusal, and the dialect in which it is written.
type Classification struct {
	Meaning Meaning
	Dialect string
}

// Classify classifies a refusal of a request for a model ("" if none).
func (r Refusal) Classify(model string) Classification {
	for _, d := range dialects {
		// A relay that failed may still quote the code or text of its upstream's error.
		if d.meaning < RelayFailed && r.hasCode(d.codes) {
			return Classification{d.meaning, d.name}
		}
	}
	text := removeQuotes(replaceModel(r.Text, model))
	for i, d := range dialects {
		matches := func(e *regexp.Regexp) bool { return e.MatchString(text) }
		if r.hasCode(d.codes) || slices.ContainsFunc(compiledPhrases()[i], matches) {
			return Classification{d.meaning, d.name}
		}
	}
	return Classification{}
}

func (r Refusal) hasCode(codes []string) bool {
	return slices.ContainsFunc(codes, func(code string) bool { return slices.Contains(r.Codes, code) })
}

// Mentions reports whether the text contains a phrase outside of quotes.
func (r Refusal) Mentions(phrase string) bool {
	return strings.Contains(removeQuotes(r.Text), phrase)
}

// modelPlaceholder replaces the name of the requested model. Regular expressions match it as white
// space.
const modelPlaceholder = "\f"

// replaceModel replaces the name of the model, which the client chose, with modelPlaceholder
// between blanks. It does not replace short names, because they may be part of any word.
func replaceModel(text, model string) string {
	const shortest = 4
	if len(model) < shortest {
		return text
	}
	return strings.ReplaceAll(text, strings.ToLower(model), " "+modelPlaceholder+" ")
}

// removeQuotes removes the text between two quotes of the same kind on one line, except for
// modelPlaceholder.
func removeQuotes(text string) string {
	if !strings.ContainsAny(text, "\"'`") {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if quote := c == '"' || c == '`' || c == '\'' && (i == 0 || !isLetter(text[i-1])); quote { // not the apostrophe of "doesn't"
			line, _, _ := strings.Cut(text[i+1:], "\n")
			if end := strings.IndexByte(line, c); end >= 0 {
				out.WriteByte(' ')
				if strings.TrimSpace(line[:end]) == "" && strings.Contains(line[:end], modelPlaceholder) {
					out.WriteString(modelPlaceholder + " ")
				}
				i += end + 1
				continue
			}
		}
		out.WriteByte(c)
	}
	return out.String()
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

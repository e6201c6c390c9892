package observe

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
)

// The attributes of spans. Those of the semantic conventions come first, then this project's.
const (
	attrOperation     = semconv.GenAIOperationNameKey
	attrProvider      = semconv.GenAIProviderNameKey
	attrRequestModel  = semconv.GenAIRequestModelKey
	attrResponseModel = semconv.GenAIResponseModelKey
	attrResponseID    = semconv.GenAIResponseIDKey
	attrFinishReasons = semconv.GenAIResponseFinishReasonsKey
	attrInputTokens   = semconv.GenAIUsageInputTokensKey // of the whole prompt, including cached tokens
	attrOutputTokens  = semconv.GenAIUsageOutputTokensKey
	attrCacheRead     = semconv.GenAIUsageCacheReadInputTokensKey
	attrCacheCreation = semconv.GenAIUsageCacheCreationInputTokensKey

	attrMethod        = semconv.HTTPRequestMethodKey
	attrRoute         = semconv.HTTPRouteKey
	attrStatus        = semconv.HTTPResponseStatusCodeKey
	attrRequestSize   = semconv.HTTPRequestBodySizeKey
	attrResponseSize  = semconv.HTTPResponseBodySizeKey
	attrServerAddress = semconv.ServerAddressKey
	attrServerPort    = semconv.ServerPortKey
	attrErrorType     = semconv.ErrorTypeKey

	attrRequestID  = attribute.Key("claude_code_lb.request_id")       // the balancer's id, as in the log
	attrClient     = attribute.Key("claude_code_lb.client")           // name of the client key
	attrSession    = attribute.Key("claude_code_lb.session")          // the client's session id
	attrAgent      = attribute.Key("claude_code_lb.agent")            // within the session
	attrStream     = attribute.Key("claude_code_lb.stream")           // whether the request asked for a stream
	attrServer     = attribute.Key("claude_code_lb.server")           // the upstream's name
	attrAttempts   = attribute.Key("claude_code_lb.attempts")         // number of attempts
	attrRouted     = attribute.Key("claude_code_lb.routed")           // why the upstream was chosen
	attrOutcome    = attribute.Key("claude_code_lb.outcome")          // from the client's view
	attrScope      = attribute.Key("claude_code_lb.scope")            // what an attempt's failure concerns
	attrReason     = attribute.Key("claude_code_lb.reason")           // of a failure, as in the log
	attrServed     = attribute.Key("claude_code_lb.served")           // the attempt's response was committed
	attrUpstreamID = attribute.Key("claude_code_lb.upstream_request") // the upstream's request-id
	attrFirstByte  = attribute.Key("claude_code_lb.ttft_seconds")     // from the request to the commit, from the attempt to its outcome
	attrWaited     = attribute.Key("claude_code_lb.waited_seconds")   // for upstreams to return
	attrCost       = attribute.Key("claude_code_lb.cost_usd")         // missing if the price is unknown
	attrSaved      = attribute.Key("claude_code_lb.saved_usd")        // by the prompt cache
	attrWasted     = attribute.Key("claude_code_lb.wasted_usd")       // part of the cost that another choice of server would have avoided
	attrEstimated  = attribute.Key("claude_code_lb.usage_estimated")  // the response broke off, so its usage is an estimate
)

const (
	operationChat     = "chat"
	providerAnthropic = "anthropic"
)

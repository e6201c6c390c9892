package observe

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
)

// The attributes of spans. Those of the semantic conventions come first; what these have no word for is our own.
const (
	attrOperation     = semconv.GenAIOperationNameKey
	attrProvider      = semconv.GenAIProviderNameKey
	attrRequestModel  = semconv.GenAIRequestModelKey
	attrResponseModel = semconv.GenAIResponseModelKey
	attrResponseID    = semconv.GenAIResponseIDKey
	attrFinishReasons = semconv.GenAIResponseFinishReasonsKey
	attrInputTokens   = semconv.GenAIUsageInputTokensKey // of the whole prompt, those of the cache among them
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

	attrRequestID  = attribute.Key("claude_code_lb.request_id")       // the balancer's own, as in the log
	attrClient     = attribute.Key("claude_code_lb.client")           // name of the client key
	attrSession    = attribute.Key("claude_code_lb.session")          // the client's session id
	attrAgent      = attribute.Key("claude_code_lb.agent")            // within the session
	attrStream     = attribute.Key("claude_code_lb.stream")           // whether a stream was asked for
	attrServer     = attribute.Key("claude_code_lb.server")           // the upstream's name
	attrAttempts   = attribute.Key("claude_code_lb.attempts")         // how many there were
	attrRouted     = attribute.Key("claude_code_lb.routed")           // why the upstream was asked
	attrOutcome    = attribute.Key("claude_code_lb.outcome")          // seen from the client
	attrScope      = attribute.Key("claude_code_lb.scope")            // whom an attempt's failure concerns
	attrReason     = attribute.Key("claude_code_lb.reason")           // of a failure, as in the log
	attrServed     = attribute.Key("claude_code_lb.served")           // the attempt's answer was committed to
	attrUpstreamID = attribute.Key("claude_code_lb.upstream_request") // the upstream's request-id
	attrFirstByte  = attribute.Key("claude_code_lb.ttft_seconds")     // from the request to the commit, from the attempt to its verdict
	attrWaited     = attribute.Key("claude_code_lb.waited_seconds")   // for upstreams to return
	attrCost       = attribute.Key("claude_code_lb.cost_usd")         // missing when the price is not known
	attrSaved      = attribute.Key("claude_code_lb.saved_usd")        // by the prompt cache
	attrWasted     = attribute.Key("claude_code_lb.wasted_usd")       // of the cost, by re-routing
	attrEstimated  = attribute.Key("claude_code_lb.usage_estimated")  // the usage is what had been told when the answer broke off
)

const (
	operationChat     = "chat"
	providerAnthropic = "anthropic"
)

package observe

// family is a metric: name, help, and labels in order. Names use base units; names of counters end
// in _total.
type family struct {
	name, help string
	labels     []string
}

// Names of labels.
const (
	labelClient    = "client"
	labelModel     = "model"
	labelServer    = "server"
	labelEndpoint  = "endpoint"
	labelOutcome   = "outcome"
	labelStatus    = "status"
	labelListener  = "listener"
	labelScope     = "scope"
	labelStage     = "stage"
	labelKind      = "kind"
	labelTool      = "tool"
	labelRouted    = "routed"
	labelState     = "state"
	labelClass     = "class"
	labelBucket    = "bucket"
	labelEngine    = "engine"
	labelVersion   = "version"
	labelGoVersion = "go_version"
)

// Label values that no other package defines.
const (
	none  = "-"     // not applicable
	other = "other" // values beyond the limit of distinct values

	beforeCommit = "before_commit"
	afterCommit  = "after_commit"

	kindInput           = "input"
	kindOutput          = "output"
	kindCacheRead       = "cache_read"
	kindCacheCreation5m = "cache_creation_5m"
	kindCacheCreation1h = "cache_creation_1h"

	toolWebSearch = "web_search"
	toolCode      = "code_execution"
)

// families lists all metrics except those of the Go runtime and the process.
type families struct {
	requests, requestDuration, firstByte, waits, routed                                       family
	attempts, attemptDuration, firstToken, interToken, failovers                              family
	tokens, serverTools, cost, unpriced, estimated, saved, wasted                             family
	openRequests, rejected, turnedAway, wrongKeys, bodies, state, inFlight, headroom, balance family
	generation, reloadSuccessful, reloadTime, build, engine                                   family
	backlog, backlogAge, late, aggregated, folded                                             family
}

func allFamilies() families {
	var f families
	f.addRequests()
	f.addUsage()
	f.addState()
	f.addProcess()
	return f
}

func (f *families) addRequests() {
	f.requests = family{"claude_code_lb_requests_total", "Client requests that have ended.",
		[]string{labelClient, labelModel, labelEndpoint, labelOutcome, labelStatus}}
	f.requestDuration = family{"claude_code_lb_request_duration_seconds", "Time from a request to the last byte of its response.",
		[]string{labelEndpoint, labelOutcome}}
	f.firstByte = family{"claude_code_lb_request_first_byte_seconds", "Time from a request to the first byte of its response, including all attempts and waits.",
		[]string{labelEndpoint}}
	f.waits = family{"claude_code_lb_request_wait_seconds", "Time that requests waited for a slot of their client key or for a server to return. Only requests that waited count.",
		[]string{labelOutcome}}
	f.routed = family{"claude_code_lb_routed_requests_total", "Requests by the reason why their server was chosen: warm (it has the conversation cached), placed, pinned.",
		[]string{labelServer, labelRouted}}
	f.attempts = family{"claude_code_lb_attempts_total", "Attempts at servers by failure scope; \"none\" is a success.",
		[]string{labelServer, labelModel, labelScope}}
	f.attemptDuration = family{"claude_code_lb_attempt_duration_seconds", "Time from the start of an attempt to its end.",
		[]string{labelServer}}
	f.firstToken = family{"claude_code_lb_time_to_first_token_seconds", "Time from the start of an attempt to the first content of a stream that went to the client.",
		[]string{labelServer, labelModel}}
	f.interToken = family{"claude_code_lb_inter_token_seconds", "Mean time between two output tokens of a complete stream.",
		[]string{labelServer, labelModel}}
	f.failovers = family{"claude_code_lb_failovers_total", "Failures of a server. before_commit: another attempt followed and the client noticed nothing. after_commit: it was too late for another attempt.",
		[]string{labelServer, labelStage}}
}

func (f *families) addUsage() {
	f.tokens = family{"claude_code_lb_tokens_total", "Tokens of all attempts, by the model that used them.",
		[]string{labelServer, labelClient, labelModel, labelKind}}
	f.serverTools = family{"claude_code_lb_server_tool_requests_total", "Uses of tools that the server runs.",
		[]string{labelServer, labelClient, labelModel, labelTool}}
	f.cost = family{"claude_code_lb_cost_dollars_total", "Cost of all attempts in US dollars, by the model that caused it, without parts of unknown price.",
		[]string{labelServer, labelClient, labelModel}}
	f.unpriced = family{"claude_code_lb_cost_unknown_total", "Attempts with incomplete cost: the price of the model, speed, service tier, region or a tool is unknown.",
		[]string{labelServer, labelModel}}
	f.estimated = family{"claude_code_lb_usage_estimated_total", "Attempts with partly estimated usage: the response broke off, or the server did not report all of it.",
		[]string{labelServer, labelModel}}
	f.saved = family{"claude_code_lb_cache_saved_dollars_total", "Savings by reads from the prompt cache, in US dollars.",
		[]string{labelServer, labelClient, labelModel}}
	f.wasted = family{"claude_code_lb_wasted_dollars_total", "Part of the cost, in US dollars, that another choice of server would have avoided: responses that did not go to a client, and prompts that were written to a cache again.",
		[]string{labelServer, labelClient, labelModel}}
}

func (f *families) addState() {
	f.openRequests = family{"claude_code_lb_open_requests", "Client requests in flight.", nil}
	f.rejected = family{"claude_code_lb_rejected_requests_total", "Requests rejected before routing, by status: 401 unknown client key, 413 body too large, 429 no memory for the body.",
		[]string{labelStatus}}
	f.turnedAway = family{"claude_code_lb_turned_away_total", "Deprecated name of claude_code_lb_rejected_requests_total, with the same values.",
		[]string{labelStatus}}
	f.wrongKeys = family{"claude_code_lb_wrong_keys_total", "Requests with a wrong key, by listener: clients or admin.",
		[]string{labelListener}}
	f.bodies = family{"claude_code_lb_request_body_memory_bytes", "Memory of request bodies, limited by max_inflight_bytes.", nil}
	f.state = family{"claude_code_lb_server_state", "1 for the state of a server, 0 for every other state.",
		[]string{labelServer, labelState}}
	f.inFlight = family{"claude_code_lb_server_in_flight", "Attempts in flight.",
		[]string{labelServer}}
	f.headroom = family{"claude_code_lb_server_headroom_ratio", "Remaining part of a limit of the server's account, by class of models and kind of limit.",
		[]string{labelServer, labelClass, labelBucket}}
	f.balance = family{"claude_code_lb_server_balance", "Last reading of balance_check, in the unit that the command prints.",
		[]string{labelServer}}
	f.backlog = family{"claude_code_lb_ledger_backlog_rows", "Rows that wait to be written to the ledger.", nil}
	f.backlogAge = family{"claude_code_lb_ledger_backlog_age_seconds", "Age of the oldest waiting row.", nil}
	f.late = family{"claude_code_lb_ledger_late_rows_total", "Rows that were written late, because the ledger was unreachable or its disk full.", nil}
	f.aggregated = family{"claude_code_lb_ledger_aggregated_rows_total", "Rows that were only added to the sums, because memory for waiting rows was full.", nil}
	f.folded = family{"claude_code_lb_ledger_folded_rows_total", "Deprecated name of claude_code_lb_ledger_aggregated_rows_total, with the same values.", nil}
}

func (f *families) addProcess() {
	f.generation = family{"claude_code_lb_config_generation", "Number of the configuration in force; 1 is that of the start.", nil}
	f.reloadSuccessful = family{"claude_code_lb_config_last_reload_successful", "1 if the last attempt to load the configuration succeeded, otherwise 0.", nil}
	f.reloadTime = family{"claude_code_lb_config_last_reload_success_timestamp_seconds", "Unix time at which the configuration in force was loaded.", nil}
	f.build = family{"claude_code_lb_build_info", "Version of the program; always 1.", []string{labelVersion, labelGoVersion}}
	f.engine = family{"claude_code_lb_http_engine_info", "HTTP engine of new connections (http_engine); always 1.", []string{labelEngine}}
}

package observe

// family is a metric: its name, what it tells, and its labels in order. Names are in base units; those of counters end in _total.
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

// Values of labels that no other package names.
const (
	none  = "-"     // what does not apply
	other = "other" // what came after as many values as are told apart

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

// families are all metrics but those of the Go runtime and the process.
type families struct {
	requests, requestDuration, firstByte, waits, routed                                        family
	attempts, attemptDuration, firstToken, interToken, failovers                               family
	tokens, serverTools, cost, unpriced, estimated, saved, wasted                              family
	openRequests, rejected, turnedAway, wrongKeys, bodies, state, inFlight, headroom, balance  family
	generation, reloadSuccessful, reloadTime, backlog, backlogAge, late, folded, build, engine family
}

func allFamilies() families {
	return families{
		requests: family{"claude_code_lb_requests_total", "Requests of clients that have ended.",
			[]string{labelClient, labelModel, labelEndpoint, labelOutcome, labelStatus}},
		requestDuration: family{"claude_code_lb_request_duration_seconds", "Time from a request to the last byte of its answer.",
			[]string{labelEndpoint, labelOutcome}},
		firstByte: family{"claude_code_lb_request_first_byte_seconds", "Time from a request to the first byte of its answer, all attempts and waits together.",
			[]string{labelEndpoint}},
		waits: family{"claude_code_lb_request_wait_seconds", "Time for which requests waited for a slot of their client key or for a server to return. Those that did not wait are left out.",
			[]string{labelOutcome}},
		routed: family{"claude_code_lb_routed_requests_total", "Requests by the reason why the server was asked that answered: warm (it has the conversation cached), placed, pinned.",
			[]string{labelServer, labelRouted}},

		attempts: family{"claude_code_lb_attempts_total", "Attempts at servers, by whom their failure concerns; none is a good answer.",
			[]string{labelServer, labelModel, labelScope}},
		attemptDuration: family{"claude_code_lb_attempt_duration_seconds", "Time from an attempt to its end.",
			[]string{labelServer}},
		firstToken: family{"claude_code_lb_time_to_first_token_seconds", "Time from an attempt to the first content of a stream that went to the client.",
			[]string{labelServer, labelModel}},
		interToken: family{"claude_code_lb_inter_token_seconds", "Mean time between two output tokens of a whole stream.",
			[]string{labelServer, labelModel}},
		failovers: family{"claude_code_lb_failovers_total", "Failures of a server before_commit, after which another attempt was made and the client noticed nothing, and after_commit, when it was too late for that.",
			[]string{labelServer, labelStage}},

		tokens: family{"claude_code_lb_tokens_total", "Tokens of all attempts, by the model that used them.",
			[]string{labelServer, labelClient, labelModel, labelKind}},
		serverTools: family{"claude_code_lb_server_tool_requests_total", "Uses of tools that the server runs.",
			[]string{labelServer, labelClient, labelModel, labelTool}},
		cost: family{"claude_code_lb_cost_dollars_total", "Cost of all attempts in US dollars, by the model that caused it. Parts without a known price are left out.",
			[]string{labelServer, labelClient, labelModel}},
		unpriced: family{"claude_code_lb_cost_unknown_total", "Attempts whose cost is incomplete: the price of the model, speed, service tier, region or a tool is not known.",
			[]string{labelServer, labelModel}},
		estimated: family{"claude_code_lb_usage_estimated_total", "Attempts with partly estimated usage: the response broke off, or the server did not report all of it.",
			[]string{labelServer, labelModel}},
		saved: family{"claude_code_lb_cache_saved_dollars_total", "What reading from the prompt cache saved, in US dollars.",
			[]string{labelServer, labelClient, labelModel}},
		wasted: family{"claude_code_lb_wasted_dollars_total", "Part of the cost that another choice of server would not have caused, in US dollars: answers that no client saw, and prompts written anew.",
			[]string{labelServer, labelClient, labelModel}},

		openRequests: family{"claude_code_lb_open_requests", "Requests of clients that are being served.", nil},
		rejected: family{"claude_code_lb_rejected_requests_total", "Requests rejected before routing, by status: 401 unknown client key, 413 body too large, 429 no memory for the body.",
			[]string{labelStatus}},
		turnedAway: family{"claude_code_lb_turned_away_total", "Deprecated name of claude_code_lb_rejected_requests_total, with the same values.",
			[]string{labelStatus}},
		wrongKeys: family{"claude_code_lb_wrong_keys_total", "Requests with a wrong key, by listener: clients or admin.",
			[]string{labelListener}},
		bodies: family{"claude_code_lb_request_body_memory_bytes", "Memory that the bodies of requests take, of max_inflight_bytes.", nil},
		state: family{"claude_code_lb_server_state", "Whether a server is in a state, 1 or 0; it is in one of them at a time.",
			[]string{labelServer, labelState}},
		inFlight: family{"claude_code_lb_server_in_flight", "Attempts that are under way.",
			[]string{labelServer}},
		headroom: family{"claude_code_lb_server_headroom_ratio", "Part that is left of a limit of the server's account, by class of models and kind of limit.",
			[]string{labelServer, labelClass, labelBucket}},
		balance: family{"claude_code_lb_server_balance", "Last reading of balance_check, in the unit that the command prints.",
			[]string{labelServer}},

		generation:       family{"claude_code_lb_config_generation", "Number of the configuration in force, 1 being that of the start.", nil},
		reloadSuccessful: family{"claude_code_lb_config_last_reload_successful", "Whether the last attempt to load the configuration succeeded.", nil},
		reloadTime:       family{"claude_code_lb_config_last_reload_success_timestamp_seconds", "When the configuration in force was loaded, in Unix time.", nil},
		backlog:          family{"claude_code_lb_ledger_backlog_rows", "Rows that wait to be written to the ledger.", nil},
		backlogAge:       family{"claude_code_lb_ledger_backlog_age_seconds", "How long the oldest of them has been waiting.", nil},
		late:             family{"claude_code_lb_ledger_late_rows_total", "Rows that were written to the ledger late, because it could not be reached or was full.", nil},
		folded:           family{"claude_code_lb_ledger_folded_rows_total", "Rows that were merged into sums, because there was no room to keep them until the ledger returned.", nil},
		build:            family{"claude_code_lb_build_info", "The version that is running; always 1.", []string{labelVersion, labelGoVersion}},
		engine:           family{"claude_code_lb_http_engine_info", "The implementation of HTTP for new connections, http_engine; always 1.", []string{labelEngine}},
	}
}

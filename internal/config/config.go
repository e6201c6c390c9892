// Package config is what the operator wrote: plain data, decoded strictly.
//
// The struct tags of Config, Server and Timeouts are the only description of
// the file. Decode, Schema, Reference and Redacted all walk the same tags, so a
// field cannot be accepted without being documented, nor the other way round:
//
//	name        the field's name in the file; a field without one is not part of the file
//	doc         its meaning, for the schema and the reference; 'words' in quotes are set as code
//	default     its value when absent, or when written as an empty string
//	enum        the only values it may have
//	min, max    its bounds
//	pattern     a regular expression for editors; Decode has a rule of its own
//	required    it must be written
//	zero        "default": a written 0 stands for the default
//	omit        "zero": left out of Redacted when it is zero
//	expand      "shell": a ${…} that is not ours is left to the shell
//	shorthand   "true": a bare string in place of the object that the field belongs to means this field
//	secret      "url": nothing but a URL is secret, such as that of a database with its password
//	path        "true": the name of a file or directory
//	deprecated  a sentence that says what to write instead
//
// Invariants: Decode reports every problem of the file in one pass, each with
// its position. A message never shows a secret nor anything that came out of a
// variable or a file. A Config is never modified once Decode has returned it.
package config

import (
	"crypto/tls"
	"net/url"
	"strings"
	"time"
)

// Mode is how servers are chosen.
type Mode string

// The modes.
const (
	ModeLoadBalance Mode = "load_balance" // spread over all healthy servers
	ModeFallback    Mode = "fallback"     // the healthy server with the smallest priority
)

// Algorithm is how ModeLoadBalance spreads requests.
type Algorithm string

// The algorithms.
const (
	RoundRobin         Algorithm = "round_robin"
	WeightedRoundRobin Algorithm = "weighted_round_robin"
	Random             Algorithm = "random"
	LeastInFlight      Algorithm = "least_inflight"
	PowerOfTwo         Algorithm = "p2c"
	CostAware          Algorithm = "cost_aware"
)

// treatsAlike says that every server gets as much as any other, whatever its weight.
func (a Algorithm) treatsAlike() bool { return a == RoundRobin || a == Random }

// Affinity is whether conversations stay with the account that has cached them.
type Affinity string

// The kinds of affinity.
const (
	AffinityAuto Affinity = "auto" // while it is cached there
	AffinityOff  Affinity = "off"  // every request for itself
)

// Resources says whose resources a client key may use.
type Resources string

// The kinds of sharing.
const (
	ResourcesOwn    Resources = "own"    // of the key, or of its group
	ResourcesShared Resources = "shared" // of everybody
)

// Off as Config.StateDir or Config.Ledger keeps nothing.
const Off = "off"

// Where the admin listener is.
const (
	AdminOff     = "off"
	defaultAdmin = "127.0.0.1:3001"
)

// AuthHeader is the header that carries a server's token.
type AuthHeader string

// The authentication headers.
const (
	AuthHeaderAuto          AuthHeader = "auto" // by the look of the token
	AuthHeaderXAPIKey       AuthHeader = "x-api-key"
	AuthHeaderAuthorization AuthHeader = "authorization" // Authorization: Bearer
)

// LogFormat is how log lines are written.
type LogFormat string

// The log formats.
const (
	LogAuto LogFormat = "auto" // text on a terminal, JSON otherwise
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// HTTPEngine is the implementation of HTTP/1.1 without TLS.
type HTTPEngine string

// The engines.
const (
	HTTPEngineFast HTTPEngine = "fast" // package http1, on non-blocking socket calls
	HTTPEngineGo   HTTPEngine = "go"   // package net/http
)

// Standard reports whether package net/http alone is used. The zero value is HTTPEngineFast.
func (e HTTPEngine) Standard() bool { return e == HTTPEngineGo }

// Config is the whole file with every default filled in.
type Config struct {
	SchemaURL        string        `name:"$schema" omit:"zero" doc:"Address of the JSON Schema of this file, for editors. Ignored."`
	Listen           string        `name:"listen" omit:"zero" doc:"Address to listen on, host:port. Beats 'port'. Without it the balancer listens on 'port' of every interface."`
	Port             string        `name:"port" omit:"zero" default:"3000" pattern:"^[0-9]{0,5}$" doc:"Port to listen on, on every interface. '0' takes a free one."`
	TLSCert          string        `name:"tls_cert" path:"true" omit:"zero" doc:"File with the certificate for clients, in PEM, followed by those between it and the root. With it 'listen' speaks HTTPS, HTTP/1.1 and HTTP/2, and no plain HTTP. Needs 'tls_key'. A relative path starts at the folder of this file. New content takes effect as a change of this file does."`
	TLSKey           string        `name:"tls_key" path:"true" omit:"zero" doc:"File with the private key of 'tls_cert', in PEM and not encrypted."`
	Mode             Mode          `name:"mode" default:"load_balance" enum:"load_balance,fallback" doc:"'load_balance' spreads requests over all healthy servers by 'algorithm'. 'fallback' always takes the healthy server with the smallest priority."`
	Algorithm        Algorithm     `name:"algorithm" omit:"zero" default:"round_robin" enum:"round_robin,weighted_round_robin,random,least_inflight,p2c,cost_aware" doc:"How 'load_balance' spreads requests, or conversations where 'affinity' keeps them together: 'round_robin' in turn; 'weighted_round_robin' in turn, with exactly the share that each 'weight' asks for; 'random'; 'least_inflight' to the fewest open requests for its weight; 'p2c' to the better of two at random, by the time to first token of recent answers and the open requests; 'cost_aware' to where most of the prompt is cached among those that are not loaded above the others."`
	Affinity         Affinity      `name:"affinity" default:"auto" enum:"auto,off" doc:"Whether a conversation stays with the account that has it in its prompt cache. 'auto': while it is cached there; new and expired conversations are placed by 'mode' and 'algorithm'. 'off': every request by itself, at the cost of writing the conversation into many caches."`
	BurstHold        time.Duration `name:"burst_hold" omit:"zero" default:"0s" max:"1m" doc:"How long requests are held back at most while another one is writing into the prompt cache what they begin with, so that it is written once. It costs as much time to the first token, and recorded days hardly ever have such bursts: 0, no hold."`
	IndexMemoryMB    int           `name:"index_memory_mb" omit:"zero" default:"64" min:"1" max:"65536" doc:"Memory for remembering which account has cached which conversations, in MiB. One takes about 10,000 entries; a conversation that is cached takes a few. Changing it needs a restart."`
	StateDir         string        `name:"state_dir" path:"true" omit:"zero" doc:"Directory for what outlives a restart, such as which account has cached which conversation. A relative one is below that of this file. Without it STATE_DIRECTORY, which systemd sets, is used, else a directory beside this file, named after it: 'config.state', or where that is read-only one in ~/.local/state/claude-code-lb. 'off' keeps nothing. Changing it needs a restart."`
	Servers          []Server      `name:"servers" required:"true" min:"1" doc:"The upstreams, at least one."`
	Cooldown         time.Duration `name:"cooldown" default:"60s" zero:"default" doc:"How long a failed server rests before one request tries it again. Doubles with consecutive failures, up to 10 minutes."`
	Fallback         bool          `name:"fallback" omit:"zero" default:"false" deprecated:"Write 'mode' 'fallback' instead." doc:"'true' means 'mode' 'fallback', unless 'mode' is written."`
	Auth             bool          `name:"auth" default:"false" doc:"Whether clients must show one of 'auth_keys'. The client key is never sent upstream."`
	AuthKeys         []ClientKey   `name:"auth_keys" omit:"zero" doc:"The keys that clients may show, in 'Authorization: Bearer' or 'x-api-key', and what they may do: strings, or objects where a key has a name or limits. Needed when 'auth' is on."`
	KeysFile         string        `name:"keys_file" path:"true" omit:"zero" doc:"File with more such keys, a list of the same entries, for those who generate it and for 'claude-code-lb key'. Relative to this file. A change takes effect as one of this file does."`
	Resources        Resources     `name:"resources" omit:"zero" default:"own" enum:"own,shared" doc:"Which files, batches, skills and containers a client key may use while 'auth' is on. 'own': those that the key, or a key of its 'group', created; all others are not found and not listed. 'shared': all that the accounts hold."`
	TimeZone         string        `name:"time_zone" omit:"zero" default:"UTC" doc:"Time zone in which days, weeks and months begin, such as 'Europe/Berlin'. It applies to reports, and to budgets that name no other zone."`
	TrustedProxies   []string      `name:"trusted_proxies" omit:"zero" doc:"Addresses of proxies in front of the balancer, such as '10.0.0.0/8' or '192.0.2.7'. When a connection comes from one of them, the address of the client is taken from 'X-Forwarded-For', or else 'Forwarded' or 'X-Real-IP': the last one that is not one of these proxies. That address is logged, and without 'auth' it identifies the client; wrong keys and memory for bodies are counted by it. The proxies must set that header themselves. 'ips' of a key always means the connection."`
	CORSOrigins      []string      `name:"cors_origins" omit:"zero" doc:"Origins of pages in browsers that may use the balancer, each as the browser sends it: 'https://chat.example', 'http://localhost:5173', 'app://obsidian.md'. '*' means every page. Without the field no page on the web may; with 'auth' on, applications with their own scheme (such as 'app://…') may, because they need a key like every client. With 'auth' off, requests of other pages are refused with status 403."`
	MaxConcurrency   int           `name:"max_concurrency" omit:"zero" default:"0" min:"0" doc:"Requests of all clients together that are served at the same time. More of them wait for their turn, by the 'priority' of their key and then key by key. 0 means no limit."`
	Admin            string        `name:"admin" omit:"zero" doc:"Address of the admin listener, host:port: metrics, the state of everything, and what an operator may change. A host that other machines can reach demands 'admin_key'. Without it '127.0.0.1:3001', unless that is taken. 'off' switches it off."`
	AdminKey         Secret        `name:"admin_key" omit:"zero" doc:"Key that every request to the admin listener must show, in 'Authorization: Bearer' or 'x-api-key'. Without it everybody on this machine may use the listener."`
	Debug            bool          `name:"debug" default:"false" doc:"Whether headers and bodies are logged, credentials redacted."`
	MaxBodyMB        int           `name:"max_body_mb" default:"32" min:"1" max:"1024" doc:"Largest request body, in MiB. A larger one is refused with status 413."`
	MaxInflightBytes int           `name:"max_inflight_bytes" omit:"zero" default:"0" min:"0" max:"1099511627776" doc:"Memory for the bodies of all requests together that are being read or may still have to be sent, in bytes. A body takes a little memory when it begins, and the remainder once that much has arrived. One client key, or one address without 'auth', gets at most three times what is free. Beyond it requests wait up to 'max_wait', bodies that arrive too slowly are refused with status 408, and requests for which there is still no memory with status 429. 0 means 1 GiB, or a quarter of the memory that the process may take if that is less. One body of 'max_body_mb' always fits, and small ones beside it."`
	MaxUploadMB      int           `name:"max_upload_mb" default:"500" min:"1" max:"1048576" doc:"Largest file or skill that a client may upload, in MiB. Uploads are passed on as they come and held nowhere. So are batches above 'max_body_mb'."`
	DrainTimeout     time.Duration `name:"drain_timeout" default:"10m" doc:"How long running answers may take to finish after SIGINT or SIGTERM. 0 ends them at once."`
	Timeouts         Timeouts      `name:"timeouts" doc:"How long to wait for an upstream. There is no limit on the length of an answer."`

	MaxAttempts       int           `name:"max_attempts" omit:"zero" default:"0" min:"0" max:"100" doc:"Most tries of one request at all upstreams together. 0 means twice the number of servers, from 4 to 10."`
	MaxWait           time.Duration `name:"max_wait" default:"30s" doc:"How long a request may wait in all for a resting server to return when no other is left. 0 answers at once."`
	StreamKeepalive   time.Duration `name:"stream_keepalive" default:"45s" doc:"After this long without a byte a streaming client gets a comment line, and then one every 15 s (or every 'stream_keepalive', if that is shorter), so that no proxy on the way closes the connection. Comments are sent before the response, which is then opened with status 200, and between two events of it. A failure after that is reported by an 'error' event. 0 switches it off."`
	Silence           time.Duration `name:"silence" omit:"zero" default:"0s" deprecated:"Write 'stream_keepalive' instead." doc:"The former name of 'stream_keepalive'. It has no effect if that is written."`
	Hedge             bool          `name:"hedge" default:"false" doc:"Whether a streaming request that is slower than 95 % of the recent ones at its server is also sent to a second one; the first content wins. The loser may be billed all the same."`
	RetryBudget       int           `name:"retry_budget_percent" default:"20" min:"0" max:"100" doc:"Most tries beyond the first of each request, as a share of the requests of the last 10 s, balancer-wide. Moving on to a healthy server is counted but never refused."`
	RetryFloor        int           `name:"retry_budget_floor" default:"10" min:"0" doc:"Tries beyond the first that are granted in 10 s however few requests there are."`
	MaxEjectedPercent int           `name:"max_ejected_percent" default:"50" min:"0" max:"100" doc:"Largest share of the servers that may rest for failures of their own (connections, time-outs, 5xx), but never all: beyond it the ones closest to recovery are tried, at a measured pace, once no healthy server is left."`
	Breaker           Breaker       `name:"breaker" doc:"When failures of its own make a server rest."`
	SlowStart         time.Duration `name:"slow_start" default:"30s" doc:"A server that returns from a rest gets its full share of the requests only after this long, and a growing part until then. 0 gives it at once."`
	ErrorRules        []ErrorRule   `name:"error_rules" omit:"zero" doc:"How to judge particular errors of upstreams: answers with status 400 or above, and 'error' events inside a stream. The first rule that fits beats what is built in; 'claude-code-lb explain-error' shows what fits."`

	Ledger        Secret `name:"ledger" path:"true" omit:"zero" secret:"url" doc:"Where requests are recorded with what they cost: a file for SQLite, or 'postgres://user:password@host/database' for several balancers together. A relative file is below the directory of this one. Without it 'ledger.db' in 'state_dir'. 'off' records nothing. Changing it needs a restart."`
	RetentionDays int    `name:"retention_days" default:"90" min:"0" max:"36500" doc:"Days for which the ledger keeps every request. Sums by the hour are kept for 400 days, sums by the day for ever. 0 means no limit."`
	MaxSizeMB     int    `name:"max_size_mb" default:"2048" min:"0" doc:"Size of the ledger in MiB beyond which the oldest requests are deleted, however old they are. The sums stay. 0 means no limit."`

	Prices []Price `name:"prices" omit:"zero" doc:"Prices that beat the list prices that are built in. The first one whose 'model' fits holds."`

	AgeIdentity string `name:"age_identity" path:"true" omit:"zero" doc:"File with the age identity that decrypts secrets written as 'age:…'. A relative path starts at the folder of this file. Without it CLAUDE_CODE_LB_AGE_IDENTITY from the environment is used, else a file beside this one, named after it: 'config.agekey'."`

	Webhooks []Webhook `name:"webhooks" omit:"zero" doc:"Whom to tell what happens, such as a server that is out or a budget that is spent."`

	LogFormat LogFormat `name:"log_format" default:"auto" enum:"auto,text,json" doc:"How log lines are written. 'auto' is text on a terminal and JSON otherwise."`

	HTTPEngine HTTPEngine `name:"http_engine" default:"fast" enum:"fast,go" doc:"Implementation of HTTP for connections with clients and servers. 'fast' is an own implementation of HTTP/1.1 for connections without TLS, which uses less CPU and memory. 'go' is the standard library of Go for every connection. A change applies to new connections. See 'http-engine.md'."`

	// Files are the files named by ${file:…}, by KeysFile, TLSCert and TLSKey, and
	// IdentityPath if a secret needs it, be they there or not: a change to one of
	// them changes the Config.
	Files []string
	// Certificate is what TLSCert and TLSKey hold, nil without them.
	Certificate *tls.Certificate
	// IdentityPath is where the age identity is looked for, be it there or not.
	IdentityPath string
	// Weak are warnings about unsafe settings: keys that can be guessed, and access without a key.
	Weak Problems
	// Literal is the first secret that stands in the file as it is. Its zero
	// value says that there is none.
	Literal Place
}

// Place is where a value stands in the file.
type Place struct {
	Path      string // of the field, such as servers[0].token
	Line, Col int    // as in Problem
}

// Price is what the tokens of some models cost, in dollars per million.
type Price struct {
	Model         string  `name:"model" required:"true" doc:"Pattern for names of models: '*' stands for anything, '?' for one character, '[5-8]' for one of them."`
	Input         float64 `name:"input" default:"-1" doc:"Dollars per million input tokens that are neither written to the prompt cache nor read from it. Without 'input' and 'output' the list prices of tokens apply, and only the other fields of this entry replace the list."`
	Output        float64 `name:"output" default:"-1" doc:"Dollars per million output tokens."`
	CacheRead     float64 `name:"cache_read" default:"-1" doc:"The same for tokens read from the prompt cache. Without it a tenth of 'input'."`
	CacheWrite5m  float64 `name:"cache_write_5m" default:"-1" doc:"The same for tokens written to it for 5 minutes. Without it 1.25 times 'input'."`
	CacheWrite1h  float64 `name:"cache_write_1h" default:"-1" doc:"The same for an hour. Without it twice 'input'."`
	Above         int     `name:"above" omit:"zero" default:"0" min:"0" doc:"Size of the prompt in tokens beyond which this price holds. 0 means any size."`
	Fast          float64 `name:"fast" default:"-1" doc:"Multiplier of the token prices for responses in fast mode ('speed'). Without it the multiplier of the list applies."`
	Batch         float64 `name:"batch" default:"-1" doc:"The same for batches."`
	Priority      float64 `name:"priority" default:"-1" doc:"The same for the service tier 'priority'. The list has none, because its price is agreed by contract."`
	Flex          float64 `name:"flex" default:"-1" doc:"The same for the service tier 'flex'. The list has none."`
	US            float64 `name:"us" default:"-1" doc:"The same for inference in the United States ('inference_geo')."`
	EU            float64 `name:"eu" default:"-1" doc:"The same for inference in the European Union. The list has none."`
	WebSearch     float64 `name:"web_search" default:"-1" doc:"Dollars per use of the web search tool. Without it the price of the list applies."`
	CodeExecution float64 `name:"code_execution" default:"-1" doc:"Dollars per use of the code execution tool. The list has none: it is sold by the hour."`
}

// Breaker says when an endpoint's failures open its circuit breaker.
type Breaker struct {
	Consecutive int           `name:"consecutive" default:"1" min:"1" max:"1000" doc:"Failures in a row that make the server rest for 'cooldown'."`
	Percent     int           `name:"percent" default:"50" min:"1" max:"100" doc:"Share of failures within 'window' that makes the server rest, in a row or not."`
	Minimum     int           `name:"minimum" default:"10" min:"1" max:"100000" doc:"Attempts within 'window' below which 'percent' does not count."`
	Window      time.Duration `name:"window" default:"30s" min:"1s" max:"10m" doc:"The time that 'percent' looks back."`
}

// ErrorScope is whom an ErrorRule makes answerable.
type ErrorScope string

// The scopes of error rules.
const (
	ErrorScopeRequest    ErrorScope = "request"
	ErrorScopeCredential ErrorScope = "credential"
	ErrorScopeAccount    ErrorScope = "account"
	ErrorScopeModel      ErrorScope = "model"
	ErrorScopeRateLimit  ErrorScope = "rate_limit"
	ErrorScopeCapacity   ErrorScope = "capacity"
	ErrorScopeEndpoint   ErrorScope = "endpoint"
)

// ErrorRule judges answers that fit all its conditions. At least one is written.
type ErrorRule struct {
	Server   string        `name:"server" omit:"zero" doc:"Name of the server whose answers are meant. Without it all are."`
	Status   int           `name:"status" omit:"zero" default:"0" min:"0" max:"599" doc:"Status of the answer, 400 or above. For an 'error' event inside a stream it is the one that goes with its type. 0 means any."`
	Type     string        `name:"type" omit:"zero" doc:"Type of the error, such as 'overloaded_error'."`
	Message  string        `name:"message" omit:"zero" doc:"Regular expression (RE2) found in the message of the error, or in the body of an answer that is no error of the API."`
	Header   string        `name:"header" omit:"zero" doc:"Header of the answer, 'name' or 'name: regular expression'."`
	Scope    ErrorScope    `name:"scope" required:"true" enum:"request,credential,account,model,rate_limit,capacity,endpoint" doc:"Whom it concerns: the 'request' itself (passed on to the client), the 'credential' of the server, its 'account', the 'model' on that server (a request without one does not fit), the 'rate_limit' of the account, the 'capacity' of the service, or the 'endpoint'."`
	Duration time.Duration `name:"duration" omit:"zero" default:"0s" doc:"How long the one concerned rests. 0 leaves it to what the answer says and to the usual growth."`

	Line int // of the file where the rule begins, for messages
}

// HeaderParts splits Header into the header's name and the expression for its value, each "" if there is none.
func (r ErrorRule) HeaderParts() (name, expression string) {
	name, expression, _ = strings.Cut(r.Header, ":")
	return strings.TrimSpace(name), strings.TrimSpace(expression)
}

// HealthCheck asks a server from time to time whether it is well.
type HealthCheck struct {
	Path     string        `name:"path" omit:"zero" doc:"Path to GET, below 'url'; any status below 500 is well. Either this or 'model'."`
	Model    string        `name:"model" omit:"zero" doc:"Model to send a message of one token to. It costs a little each time."`
	Interval time.Duration `name:"interval" omit:"zero" default:"30s" min:"100ms" zero:"default" doc:"Time between two checks."`
	Jitter   int           `name:"jitter_percent" omit:"zero" default:"20" min:"0" max:"100" doc:"Part of 'interval' by which each pause is shortened at random."`
}

// Enabled says whether anything is asked.
func (h HealthCheck) Enabled() bool { return h.Path != "" || h.Model != "" }

// Timeouts bound the silence of an upstream. Zero means no limit.
type Timeouts struct {
	Connect        time.Duration `name:"connect" default:"10s" doc:"Until the connection stands, TLS included. 0 means no limit."`
	ResponseHeader time.Duration `name:"response_header" default:"120s" doc:"From a streaming request to the first content of its answer, at most. A server whose recent answers came sooner is given less, but 60 s at least if this is more. A stream that keeps sending pings after 'message_start' may take longer if no other server is left to try. 0 means no limit."`
	Total          time.Duration `name:"total" default:"280s" doc:"From a request to the first content of its answer, all tries and waits together; a request that does not stream is only not tried again after it. It does not end a stream that has sent 'message_start' while pings or comments arrive. 0 means no limit."`
	NonStreaming   time.Duration `name:"non_streaming" default:"10m" doc:"From any other request to the end of its answer, as far as it is held to be looked at (16 MB). 0 means no limit."`
	Idle           time.Duration `name:"idle" default:"120s" doc:"Between two pieces of an answer. 0 means no limit."`
}

// Server is one upstream: an address and the account used there.
type Server struct {
	Name       string     `name:"name" omit:"zero" doc:"Name in logs and reports, unique. By default the host of 'url', with -2, -3, … appended where that is taken."`
	URL        *url.URL   `name:"url" required:"true" pattern:"^[Hh][Tt][Tt][Pp][Ss]?://." doc:"Base address, http or https, without the '/v1' that clients add. A path prefix is kept."`
	Weight     int        `name:"weight" default:"1" min:"0" doc:"Share of the requests, in proportion to the others, with every 'algorithm' but 'round_robin' and 'random'; rank in 'fallback' mode when 'priority' is 0. 0 drains the server: no new work, running answers finish."`
	Priority   int        `name:"priority" omit:"zero" default:"0" min:"0" doc:"Rank in 'fallback' mode, 1 is taken first. 0 derives it: after all written priorities, by descending 'weight', then in file order."`
	Token      Secret     `name:"token" omit:"zero" doc:"Credential sent upstream in place of the one the client sent. Without it the credential of the client is passed on, unless 'auth' is on."`
	AuthHeader AuthHeader `name:"auth_header" default:"auto" enum:"auto,x-api-key,authorization" doc:"Header that carries 'token'. 'auto' sends Anthropic API keys (sk-ant-…) as 'x-api-key', and OAuth tokens (sk-ant-oat…) and everything else as 'Authorization: Bearer'."`

	Account         string      `name:"account" omit:"zero" doc:"Name of the account or organization that 'token' belongs to. Servers with one account share its limits. Responses of *.anthropic.com name the account. The balancer does not trust other servers to name it: only this field joins them."`
	PriceMultiplier float64     `name:"price_multiplier" default:"1" min:"0" doc:"What the server charges in terms of the list price: '0.5' is half of it. A cached conversation moves to a cheaper server when that earns back the price of writing it there."`
	DiscountPercent float64     `name:"discount_percent" omit:"zero" default:"0" min:"0" max:"100" doc:"What is taken off that, in percent: the server charges the list price times 'price_multiplier' times (1 − 'discount_percent' / 100). For a discount of its own, such as one for a committed volume."`
	RateLimit       RateLimit   `name:"rate_limit" omit:"zero" doc:"Limits of the account per minute, for upstreams that do not tell them in their answers. A request that does not fit goes elsewhere while it can. What an answer tells beats what is written here."`
	HealthCheck     HealthCheck `name:"health_check" omit:"zero" doc:"Active checks. They bring a server back sooner and find a dead one early; they never overrule real traffic. Off without 'path' and 'model'."`

	// BalanceCheck is a Secret because commands often hold a token.
	BalanceCheck         Secret        `name:"balance_check" omit:"zero" expand:"shell" doc:"Shell command that prints a number, the balance of the account. The server is out while the last reading is at or below 'balance_threshold'. Values of '${NAME}' and '${file:…}' reach it as quoted environment variables, so the shell never parses them."`
	BalanceEnv           Secret        // environment of BalanceCheck: name=value, separated by NUL
	BalanceCheckInterval time.Duration `name:"balance_check_interval" omit:"zero" default:"300s" min:"100ms" zero:"default" doc:"Time between two runs of 'balance_check'."`
	BalanceThreshold     float64       `name:"balance_threshold" omit:"zero" default:"0" min:"0" doc:"Balance at or below which the server gets no requests."`
}

// RateLimit is what an account may be asked for in a minute; 0 means no limit.
type RateLimit struct {
	Requests     int `name:"requests" omit:"zero" default:"0" min:"0" doc:"Requests per minute. 0 means no limit."`
	InputTokens  int `name:"input_tokens" omit:"zero" default:"0" min:"0" doc:"Input tokens per minute, those read from the prompt cache left out. 0 means no limit."`
	OutputTokens int `name:"output_tokens" omit:"zero" default:"0" min:"0" doc:"Output tokens per minute. 0 means no limit."`
}

// Address is what to listen on, in the form net.Listen wants.
func (c *Config) Address() string {
	if c.Listen != "" {
		return c.Listen
	}
	return ":" + c.Port
}

// AdminAddress is what the admin listener listens on, "" for nowhere. It is chosen when it was written: where it was not, nobody
// relies on it, and it yields to whoever has the address.
func (c *Config) AdminAddress() (address string, chosen bool) {
	switch c.Admin {
	case "":
		return defaultAdmin, false
	case AdminOff:
		return "", true
	}
	return c.Admin, true
}

// Price is what the server charges for a token, 1 being the list price.
func (s Server) Price() float64 { return s.PriceMultiplier * (100 - s.DiscountPercent) / 100 }

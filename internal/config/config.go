// Package config decodes the configuration file, strictly, into plain data.
//
// The struct tags of Config and of its sections are the only description of the file. Decode,
// Schema, Reference and Redacted use the same tags, so every accepted field is documented, and every
// documented field is accepted:
//
//	name        name of the field in the file; a field without one is not part of the file
//	doc         its meaning, for the schema and the reference; 'quoted words' are set as code
//	default     its value if it is absent or an empty string
//	enum        its only valid values
//	min, max    its bounds
//	pattern     a regular expression for editors; Decode has a separate rule
//	required    the field must be written
//	zero        "default": 0 means the default
//	omit        "zero": Redacted omits the field if it is zero
//	expand      "shell": references that the balancer does not know are left to the shell
//	shorthand   "true": a bare string in place of the object means this field
//	secret      "url": the value is secret only if it is a URL, such as that of a database with its password
//	path        "true": the value is the name of a file or directory
//	deprecated  the replacement, as a sentence
//
// Decode reports every problem of the file in one pass, each with its position. A message never
// contains a secret, or the value of a variable or file. A Config never changes after Decode has
// returned it.
package config

import (
	"crypto/tls"
	"net/url"
	"strings"
	"time"
)

// Mode is the way of choosing servers.
type Mode string

// The modes.
const (
	ModeLoadBalance Mode = "load_balance" // spread over all healthy servers
	ModeFallback    Mode = "fallback"     // the healthy server with the smallest priority
)

// Algorithm is the way in which ModeLoadBalance spreads requests.
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

// treatsAlike reports whether every server gets the same number of requests, regardless of its
// weight.
func (a Algorithm) treatsAlike() bool { return a == RoundRobin || a == Random }

// Affinity is whether conversations stay with the account that has cached them.
type Affinity string

// The values of Affinity.
const (
	AffinityAuto Affinity = "auto" // while the conversation is cached there
	AffinityOff  Affinity = "off"  // each request is placed separately
)

// Resources is whose resources a client key may use.
type Resources string

// The values of Resources.
const (
	ResourcesOwn    Resources = "own"    // those of the key or its group
	ResourcesShared Resources = "shared" // those of all keys
)

// Off disables Config.StateDir or Config.Ledger.
const Off = "off"

// Values of Config.Admin.
const (
	AdminOff     = "off"
	defaultAdmin = "127.0.0.1:3001"
)

// AuthHeader is the header that carries a server's token.
type AuthHeader string

// The authentication headers.
const (
	AuthHeaderAuto          AuthHeader = "auto" // by the form of the token
	AuthHeaderXAPIKey       AuthHeader = "x-api-key"
	AuthHeaderAuthorization AuthHeader = "authorization" // Authorization: Bearer
)

// LogFormat is the format of log lines.
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

// Config is the whole file with defaults for missing fields.
type Config struct {
	SchemaURL        string        `name:"$schema" omit:"zero" doc:"Address of the JSON Schema of this file, for editors. Ignored."`
	Listen           string        `name:"listen" omit:"zero" doc:"Address to listen on, host:port. It overrides 'port'. By default the balancer listens on 'port' of every interface."`
	Port             string        `name:"port" omit:"zero" default:"3000" pattern:"^[0-9]{0,5}$" doc:"Port to listen on, on every interface. '0' means any free port."`
	TLSCert          string        `name:"tls_cert" path:"true" omit:"zero" doc:"File with the certificate for clients, in PEM, followed by the intermediate certificates. With it 'listen' serves HTTPS (HTTP/1.1 and HTTP/2), and no plain HTTP. Needs 'tls_key'. A relative path starts at the directory of this file. New content is loaded like a change of this file."`
	TLSKey           string        `name:"tls_key" path:"true" omit:"zero" doc:"File with the private key of 'tls_cert', in PEM and not encrypted."`
	Mode             Mode          `name:"mode" default:"load_balance" enum:"load_balance,fallback" doc:"'load_balance' spreads requests over all healthy servers by 'algorithm'. 'fallback' always uses the healthy server with the smallest priority."`
	Algorithm        Algorithm     `name:"algorithm" omit:"zero" default:"round_robin" enum:"round_robin,weighted_round_robin,random,least_inflight,p2c,cost_aware" doc:"How 'load_balance' spreads requests, or new conversations if 'affinity' is on: 'round_robin' in turn; 'weighted_round_robin' in turn, in exact proportion to 'weight'; 'random'; 'least_inflight' to the server with the fewest open requests for its weight; 'p2c' to the better of two random servers, by time to first token and open requests; 'cost_aware' to the server that has most of the prompt cached, among those that are not loaded above the others."`
	Affinity         Affinity      `name:"affinity" default:"auto" enum:"auto,off" doc:"Whether a conversation stays with the account that has it in its prompt cache. 'auto': as long as it is cached there; new and expired conversations are placed by 'mode' and 'algorithm'. 'off': every request is placed separately, at the cost of writing the conversation into many caches."`
	BurstHold        time.Duration `name:"burst_hold" omit:"zero" default:"0s" max:"1m" doc:"How long requests wait at most while another request is writing their common prefix into the prompt cache, so that it is written once. The wait adds to the time to first token, and recorded days contain few such bursts, so the default is 0, no wait."`
	IndexMemoryMB    int           `name:"index_memory_mb" omit:"zero" default:"64" min:"1" max:"65536" doc:"Memory for the index of which account has cached which conversations, in MiB. One MiB holds about 10,000 entries, and a cached conversation takes a few. A change needs a restart."`
	StateDir         string        `name:"state_dir" path:"true" omit:"zero" doc:"Directory for state that survives a restart, such as which account has cached which conversation. A relative path starts at the directory of this file. By default STATE_DIRECTORY, which systemd sets, else a directory next to this file with its name, 'config.state', or if that is read-only a directory in ~/.local/state/claude-code-lb. 'off' keeps no state. A change needs a restart."`
	Servers          []Server      `name:"servers" required:"true" min:"1" doc:"The upstreams, at least one."`
	Cooldown         time.Duration `name:"cooldown" default:"60s" zero:"default" doc:"Cooldown of a failed server, after which one request tries it again. It doubles with consecutive failures, up to 10 minutes."`
	Fallback         bool          `name:"fallback" omit:"zero" default:"false" deprecated:"Write 'mode' 'fallback' instead." doc:"'true' means 'mode' 'fallback', unless 'mode' is written."`
	Auth             bool          `name:"auth" default:"false" doc:"Whether clients must send one of 'auth_keys'. The client key is never sent upstream."`
	AuthKeys         []ClientKey   `name:"auth_keys" omit:"zero" doc:"The client keys, which clients send as 'Authorization: Bearer' or 'x-api-key': strings, or objects for keys with a name or limits. Required if 'auth' is on."`
	KeysFile         string        `name:"keys_file" path:"true" omit:"zero" doc:"File with more client keys: a list of the same entries, for generated keys and for 'claude-code-lb key'. A relative path starts at the directory of this file. A change is loaded like a change of this file."`
	Resources        Resources     `name:"resources" omit:"zero" default:"own" enum:"own,shared" doc:"Which files, batches, skills and containers a client key may use while 'auth' is on. 'own': those that the key, or a key of its 'group', created; others are neither found nor listed. 'shared': all that the accounts contain."`
	TimeZone         string        `name:"time_zone" omit:"zero" default:"UTC" doc:"Time zone in which days, weeks and months begin, such as 'Europe/Berlin'. It applies to reports, and to budgets without another zone."`
	TrustedProxies   []string      `name:"trusted_proxies" omit:"zero" doc:"Addresses of proxies in front of the balancer, such as '10.0.0.0/8' or '192.0.2.7'. For connections from them, the address of the client is taken from 'X-Forwarded-For', 'Forwarded' or 'X-Real-IP': the last address that is not one of these proxies. That address is logged, and without 'auth' it identifies the client; wrong keys and memory for bodies are counted per address. The proxies must set that header themselves. 'ips' of a key always means the address of the connection."`
	CORSOrigins      []string      `name:"cors_origins" omit:"zero" doc:"Origins of pages in browsers that may use the balancer, each as the browser sends it: 'https://chat.example', 'http://localhost:5173', 'app://obsidian.md'. '*' means every page. By default no page on the web may; with 'auth' on, applications with their own scheme (such as 'app://…') may, because they need a client key. With 'auth' off, requests of other pages are refused with status 403."`
	MeShowsServers   bool          `name:"me_shows_servers" omit:"zero" default:"false" doc:"Whether holders of client keys see the names of servers under '/lb/me' and in the status line of Claude Code. By default they see a letter for each server. Addresses of servers are never shown."`
	MaxConcurrency   int           `name:"max_concurrency" omit:"zero" default:"0" min:"0" doc:"Most requests of all clients together that are served at the same time. Further requests wait, by the 'priority' of their key and then in turn by key. 0 means no limit."`
	Admin            string        `name:"admin" omit:"zero" doc:"Address of the admin listener, host:port, which serves metrics, the state of the balancer and changes by an operator. A host that other machines can reach requires 'admin_key'. The default is '127.0.0.1:3001', unless that is in use. 'off' disables it."`
	AdminKey         Secret        `name:"admin_key" omit:"zero" doc:"Key that every request to the admin listener must send, as 'Authorization: Bearer' or 'x-api-key'. Without it every user of this machine may use the listener."`
	Debug            bool          `name:"debug" default:"false" doc:"Whether headers and bodies are logged, credentials redacted."`
	MaxBodyMB        int           `name:"max_body_mb" default:"32" min:"1" max:"1024" doc:"Largest request body, in MiB. A larger one is refused with status 413."`
	MaxInflightBytes int           `name:"max_inflight_bytes" omit:"zero" default:"0" min:"0" max:"1099511627776" doc:"Memory, in bytes, for all request bodies that are being read or may still have to be sent. A body claims a little memory at its beginning, and the rest when that much has arrived. One client key, or one address without 'auth', gets at most three times what is free. If memory is short, requests wait up to 'max_wait'; then bodies that arrive too slowly are refused with status 408, and others with status 429. 0 means 1 GiB, or a quarter of the memory limit of the process if that is less. One body of 'max_body_mb' always fits, together with small ones."`
	MaxUploadMB      int           `name:"max_upload_mb" default:"500" min:"1" max:"1048576" doc:"Largest file or skill that a client may upload, in MiB. Uploads are forwarded as they arrive, without being stored. The same applies to batches above 'max_body_mb'."`
	DrainTimeout     time.Duration `name:"drain_timeout" default:"10m" doc:"How long open requests may take to finish after SIGINT or SIGTERM. 0 ends them at once."`
	Timeouts         Timeouts      `name:"timeouts" doc:"Time limits for waits for an upstream. The length of a response is not limited."`

	MaxAttempts       int           `name:"max_attempts" omit:"zero" default:"0" min:"0" max:"100" doc:"Most attempts of one request at all upstreams together. 0 means twice the number of servers, but at least 4 and at most 10."`
	MaxWait           time.Duration `name:"max_wait" default:"30s" doc:"How long a request may wait in total for a server to return from its cooldown if no other is left. 0 means no wait."`
	StreamKeepalive   time.Duration `name:"stream_keepalive" default:"45s" doc:"After this long without a byte, a streaming client gets a comment line, and then one every 15 s (or every 'stream_keepalive', if that is shorter), so that no proxy on the way closes the connection. Comments are sent before the response, which then begins with status 200, and between two of its events. Later failures are reported by an 'error' event. 0 disables it."`
	Silence           time.Duration `name:"silence" omit:"zero" default:"0s" deprecated:"Write 'stream_keepalive' instead." doc:"The former name of 'stream_keepalive', which overrides it."`
	Hedge             bool          `name:"hedge" default:"false" doc:"Whether a streaming request that is slower than 95 % of the recent ones at its server is also sent to a second one; the first content wins. The other attempt may be billed nevertheless."`
	RetryBudget       int           `name:"retry_budget_percent" default:"20" min:"0" max:"100" doc:"Most retries of all requests together, as a share of the requests of the last 10 s. A failover to a healthy server counts, but is never refused."`
	RetryFloor        int           `name:"retry_budget_floor" default:"10" min:"0" doc:"Retries that are allowed in 10 s regardless of the number of requests."`
	MaxEjectedPercent int           `name:"max_ejected_percent" default:"50" min:"0" max:"100" doc:"Largest share of the servers that may be in a failure cooldown (connections, time-outs, 5xx), but never all: if more are, and no healthy server is left, those closest to recovery are tried at a limited rate."`
	Breaker           Breaker       `name:"breaker" doc:"When failures put a server into its cooldown."`
	SlowStart         time.Duration `name:"slow_start" default:"30s" doc:"Time after a cooldown in which the share of a server in the requests grows to the full one. 0 means the full share at once."`
	ErrorRules        []ErrorRule   `name:"error_rules" omit:"zero" doc:"Rules for errors of upstreams: responses with status 400 or above, and 'error' events inside a stream. The first rule that matches overrides the built-in ones; 'claude-code-lb explain-error' shows which one matches."`

	Ledger        Secret `name:"ledger" path:"true" omit:"zero" secret:"url" doc:"Database that records requests and their cost: a file for SQLite, or 'postgres://user:password@host/database' for several balancers together. A relative path starts at the directory of this file. The default is 'ledger.db' in 'state_dir'. 'off' records nothing. A change needs a restart."`
	RetentionDays int    `name:"retention_days" default:"90" min:"0" max:"36500" doc:"Days for which the ledger keeps every request. Hourly sums are kept for 400 days, daily sums forever. 0 means no limit."`
	MaxSizeMB     int    `name:"max_size_mb" default:"2048" min:"0" doc:"Size of the ledger, in MiB, above which the oldest requests are deleted, regardless of their age. The sums stay. 0 means no limit."`

	Prices []Price `name:"prices" omit:"zero" doc:"Prices that override the built-in list prices. The first entry whose 'model' matches applies."`

	AgeIdentity string `name:"age_identity" path:"true" omit:"zero" doc:"File with the age identity that decrypts secrets written as 'age:…'. A relative path starts at the directory of this file. The default is the environment variable CLAUDE_CODE_LB_AGE_IDENTITY, else a file next to this one with its name: 'config.agekey'."`

	Webhooks []Webhook `name:"webhooks" omit:"zero" doc:"Addresses that are notified of events, such as a server that is out or a budget that is spent."`

	LogFormat LogFormat `name:"log_format" default:"auto" enum:"auto,text,json" doc:"How log lines are written. 'auto' is text on a terminal and JSON otherwise."`

	HTTPEngine HTTPEngine `name:"http_engine" default:"fast" enum:"fast,go" doc:"Implementation of HTTP for connections with clients and servers. 'fast' is an own implementation of HTTP/1.1 for connections without TLS, which uses less CPU and memory. 'go' is the standard library of Go for every connection. A change applies to new connections. See 'http-engine.md'."`

	// Files are the files named by ${file:…}, KeysFile, TLSCert and TLSKey, and IdentityPath if a
	// secret needs it, existing or not: a change of one of them changes the Config.
	Files []string
	// Certificate is the content of TLSCert and TLSKey, nil without them.
	Certificate *tls.Certificate
	// IdentityPath is the path of the age identity, existing or not.
	IdentityPath string
	// Weak are warnings about unsafe settings: keys that can be guessed, and access without a key.
	Weak Problems
	// Literal is the first secret that is in the file as plain text. Zero means that there is none.
	Literal Place
}

// Place is the position of a value in the file.
type Place struct {
	Path      string // of the field, such as servers[0].token
	Line, Col int    // as in Problem
}

// Price is the price of the tokens of some models, in dollars per million.
type Price struct {
	Model         string  `name:"model" required:"true" doc:"Pattern for names of models: '*' matches any text, '?' one character, '[5-8]' one of these characters."`
	Input         float64 `name:"input" default:"-1" doc:"Dollars per million input tokens that are neither written to the prompt cache nor read from it. Without 'input' and 'output' the list prices of tokens apply, and only the other fields of this entry override the list."`
	Output        float64 `name:"output" default:"-1" doc:"Dollars per million output tokens."`
	CacheRead     float64 `name:"cache_read" default:"-1" doc:"The same for tokens read from the prompt cache. The default is a tenth of 'input'."`
	CacheWrite5m  float64 `name:"cache_write_5m" default:"-1" doc:"The same for tokens written to the prompt cache for 5 minutes. The default is 1.25 times 'input'."`
	CacheWrite1h  float64 `name:"cache_write_1h" default:"-1" doc:"The same for an hour. The default is twice 'input'."`
	Above         int     `name:"above" omit:"zero" default:"0" min:"0" doc:"Size of the prompt in tokens above which this price applies. 0 means any size."`
	Fast          float64 `name:"fast" default:"-1" doc:"Multiplier of the token prices for responses in fast mode ('speed'). The default is that of the list."`
	Batch         float64 `name:"batch" default:"-1" doc:"The same for batches."`
	Priority      float64 `name:"priority" default:"-1" doc:"The same for the service tier 'priority'. The list has none, because this price is part of a contract."`
	Flex          float64 `name:"flex" default:"-1" doc:"The same for the service tier 'flex'. The list has none."`
	US            float64 `name:"us" default:"-1" doc:"The same for inference in the United States ('inference_geo')."`
	EU            float64 `name:"eu" default:"-1" doc:"The same for inference in the European Union. The list has none."`
	WebSearch     float64 `name:"web_search" default:"-1" doc:"Dollars per use of the web search tool. The default is that of the list."`
	CodeExecution float64 `name:"code_execution" default:"-1" doc:"Dollars per use of the code execution tool. The list has none, because its price is per hour."`
}

// Breaker sets when an endpoint's failures open its circuit breaker.
type Breaker struct {
	Consecutive int           `name:"consecutive" default:"1" min:"1" max:"1000" doc:"Consecutive failures that put the server into its 'cooldown'."`
	Percent     int           `name:"percent" default:"50" min:"1" max:"100" doc:"Share of failures within 'window' that puts the server into its cooldown, consecutive or not."`
	Minimum     int           `name:"minimum" default:"10" min:"1" max:"100000" doc:"Fewest attempts within 'window' for which 'percent' applies."`
	Window      time.Duration `name:"window" default:"30s" min:"1s" max:"10m" doc:"The period of 'percent'."`
}

// ErrorScope is what a failure that matches an ErrorRule concerns.
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

// ErrorRule classifies responses that match all its conditions. At least one condition is set.
type ErrorRule struct {
	Server   string        `name:"server" omit:"zero" doc:"Name of the server that the rule applies to. By default it applies to all."`
	Status   int           `name:"status" omit:"zero" default:"0" min:"0" max:"599" doc:"Status of the response, 400 or above. For an 'error' event inside a stream it is the status that belongs to its type. 0 means any."`
	Type     string        `name:"type" omit:"zero" doc:"Type of the error, such as 'overloaded_error'."`
	Message  string        `name:"message" omit:"zero" doc:"Regular expression (RE2) that matches a part of the message of the error, or of the body if the response is not an error of the API."`
	Header   string        `name:"header" omit:"zero" doc:"Response header, 'name' or 'name: regular expression'."`
	Scope    ErrorScope    `name:"scope" required:"true" enum:"request,credential,account,model,rate_limit,capacity,endpoint" doc:"What the error concerns: the 'request' itself (the response goes to the client), the 'credential' of the server, its 'account', the 'model' on that server (a request without one does not match), the 'rate_limit' of the account, the 'capacity' of the service, or the 'endpoint'."`
	Duration time.Duration `name:"duration" omit:"zero" default:"0s" doc:"Length of the cooldown. 0 means the length that the response asks for, or the default one."`

	Line int // line of the file where the rule begins, for messages
}

// HeaderParts splits Header into the header's name and the expression for its value, each "" if
// absent.
func (r ErrorRule) HeaderParts() (name, expression string) {
	name, expression, _ = strings.Cut(r.Header, ":")
	return strings.TrimSpace(name), strings.TrimSpace(expression)
}

// HealthCheck sets the periodic checks of a server.
type HealthCheck struct {
	Path     string        `name:"path" omit:"zero" doc:"Path to GET, below 'url'; any status below 500 passes. Either this or 'model'."`
	Model    string        `name:"model" omit:"zero" doc:"Model to which a message of one token is sent. Each check costs a little."`
	Interval time.Duration `name:"interval" omit:"zero" default:"30s" min:"100ms" zero:"default" doc:"Time between two checks."`
	Jitter   int           `name:"jitter_percent" omit:"zero" default:"20" min:"0" max:"100" doc:"Largest random part of 'interval' by which a pause is shortened."`
}

// Enabled reports whether there are checks.
func (h HealthCheck) Enabled() bool { return h.Path != "" || h.Model != "" }

// Timeouts bound the waits for an upstream. Zero means no limit.
type Timeouts struct {
	Connect        time.Duration `name:"connect" default:"10s" doc:"Time to connect, including TLS. 0 means no limit."`
	ResponseHeader time.Duration `name:"response_header" default:"120s" doc:"Longest time from a streaming attempt to the first content of its response. A server whose recent responses were faster gets less, but at least 60 s if this is more. A stream that keeps sending pings after 'message_start' may take longer if no other server is left to try. 0 means no limit."`
	Total          time.Duration `name:"total" default:"280s" doc:"Longest time from a request to the first content of its response, including all attempts and waits; for a request that does not stream, the time after which there is no further attempt. It does not end a stream that has sent 'message_start' as long as pings or comments arrive. 0 means no limit."`
	NonStreaming   time.Duration `name:"non_streaming" default:"10m" doc:"Longest time from any other attempt to the end of its response, or of the first 16 MB, which are buffered. 0 means no limit."`
	Idle           time.Duration `name:"idle" default:"120s" doc:"Longest time between two reads of a response. 0 means no limit."`
}

// Server is one upstream: an address and the account used there.
type Server struct {
	Name       string     `name:"name" omit:"zero" doc:"Name in logs and reports, unique. The default is the host of 'url', with -2, -3, … appended if it is used already."`
	URL        *url.URL   `name:"url" required:"true" pattern:"^[Hh][Tt][Tt][Pp][Ss]?://." doc:"Base address, http or https, without the '/v1' that clients add. A path prefix is kept."`
	Weight     int        `name:"weight" default:"1" min:"0" doc:"Share of the requests relative to the other servers, with every 'algorithm' except 'round_robin' and 'random'; rank in 'fallback' mode if 'priority' is 0. 0 drains the server: it gets no new requests, and open ones finish."`
	Priority   int        `name:"priority" omit:"zero" default:"0" min:"0" doc:"Rank in 'fallback' mode; 1 is used first. 0 means a rank after all written priorities, by descending 'weight', then in the order of the file."`
	Token      Secret     `name:"token" omit:"zero" doc:"Credential that is sent upstream instead of that of the client. Without it the credential of the client is forwarded, unless 'auth' is on."`
	AuthHeader AuthHeader `name:"auth_header" default:"auto" enum:"auto,x-api-key,authorization" doc:"Header for 'token'. 'auto' sends Anthropic API keys (sk-ant-…) as 'x-api-key', and OAuth tokens (sk-ant-oat…) and everything else as 'Authorization: Bearer'."`

	Account         string      `name:"account" omit:"zero" doc:"Name of the account or organization of 'token'. Servers with the same account share its limits. Responses of *.anthropic.com name the account. For other servers the balancer relies on this field only."`
	PriceMultiplier float64     `name:"price_multiplier" default:"1" min:"0" doc:"Price of the server relative to the list price: '0.5' is half of it. A cached conversation moves to a cheaper server if the expected savings exceed the cost of writing it to that cache."`
	DiscountPercent float64     `name:"discount_percent" omit:"zero" default:"0" min:"0" max:"100" doc:"Discount in percent: the server charges the list price times 'price_multiplier' times (1 − 'discount_percent' / 100). For a separate discount, such as one for a committed volume."`
	RateLimit       RateLimit   `name:"rate_limit" omit:"zero" doc:"Limits of the account per minute, for upstreams that do not report them in their responses. A request that does not fit goes to another server if possible. Limits in a response override these."`
	HealthCheck     HealthCheck `name:"health_check" omit:"zero" doc:"Active checks. They end a cooldown sooner and find a dead server early; they never override real traffic. Off without 'path' and 'model'."`

	// BalanceCheck is a Secret because commands often contain a token.
	BalanceCheck         Secret        `name:"balance_check" omit:"zero" expand:"shell" doc:"Shell command that prints the balance of the account as a number. The server is out while the last reading is at or below 'balance_threshold'. Values of '${NAME}' and '${file:…}' are passed as quoted environment variables, so the shell never parses them."`
	BalanceEnv           Secret        // environment of BalanceCheck: name=value, separated by NUL
	BalanceCheckInterval time.Duration `name:"balance_check_interval" omit:"zero" default:"300s" min:"100ms" zero:"default" doc:"Time between two runs of 'balance_check'."`
	BalanceThreshold     float64       `name:"balance_threshold" omit:"zero" default:"0" min:"0" doc:"Balance at or below which the server gets no requests."`
}

// RateLimit is an account's limit per minute; 0 means no limit.
type RateLimit struct {
	Requests     int `name:"requests" omit:"zero" default:"0" min:"0" doc:"Requests per minute. 0 means no limit."`
	InputTokens  int `name:"input_tokens" omit:"zero" default:"0" min:"0" doc:"Input tokens per minute, without those read from the prompt cache. 0 means no limit."`
	OutputTokens int `name:"output_tokens" omit:"zero" default:"0" min:"0" doc:"Output tokens per minute. 0 means no limit."`
}

// Address returns the address to listen on, in the syntax of net.Listen.
func (c *Config) Address() string {
	if c.Listen != "" {
		return c.Listen
	}
	return ":" + c.Port
}

// AdminAddress returns the address of the admin listener, "" if it is off. chosen reports that the
// file sets it: the default address is given up if another process has it.
func (c *Config) AdminAddress() (address string, chosen bool) {
	switch c.Admin {
	case "":
		return defaultAdmin, false
	case AdminOff:
		return "", true
	}
	return c.Admin, true
}

// Price returns what the server charges for a token, relative to the list price.
func (s Server) Price() float64 { return s.PriceMultiplier * (100 - s.DiscountPercent) / 100 }

// Package proxy serves one request from its body to its last byte. It leases an endpoint from
// routing, sends an attempt, buffers the response until it is worth committing to, fails over to
// another endpoint if it is not, and relays it if it is.
//
// The path of a request reads from top to bottom in two files: serve.go has admission, the attempt
// loop and the attempt, commit.go has the commit, the relay and the end.
//
// Invariants. The request body is read once and never changed. Nothing reaches the client before
// the commit (except keep-alive comments), so until then every failure can be hidden. After the
// commit nothing is ever sent twice, and a response that breaks off is passed on as broken. Every
// lease is released exactly once.
package proxy

import (
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// Recorder receives the entry of every finished request. Record must not block.
type Recorder interface {
	Record(ledger.Entry)
}

// Settings are the forwarding settings of one generation of the configuration.
type Settings struct {
	FirstContent time.Duration // limit for the first content of a streaming attempt; 0: no limit
	NonStreaming time.Duration // limit for the response header of any other attempt; 0: no limit
	Idle         time.Duration // limit for one read of a response; 0: no limit
	Total        time.Duration // limit from the request to its first content, over all attempts; 0: no limit

	MaxAttempts     int           // over all endpoints, at least 1
	MaxWait         time.Duration // for endpoints in cooldown, in total
	BurstHold       time.Duration // wait for another request that is writing the same prefix into a cache
	StreamKeepalive time.Duration // time without a byte before a streaming client gets a comment; 0: never
	Hedge           bool          // whether slow streaming requests are sent to a second endpoint too
	RetryPercent    int           // retries granted as a percentage of requests
	RetryFloor      int           // retries granted in any case

	Prices *ledger.Prices // nil: nothing is priced
	Rules  verdict.Rules  // the operator's rules for judging responses
	// PassCredentials lets a client's own credential go to endpoints that have none.
	PassCredentials bool
	// SharedResources lets every client key use the resources of all others. SoleTenant is set if
	// there is only one key, or one group of keys, which may then use resources without a known
	// owner.
	SharedResources, SoleTenant bool

	Dump *telemetry.Dump // nil unless debug is on
}

// queue is how long a request waits for capacity in a rate limit: as long as its client does.
func (s *Settings) queue() time.Duration {
	if s.MaxWait <= 0 {
		return 0
	}
	return s.patience()
}

// patience is how long we expect a client to wait for a response to begin.
func (s *Settings) patience() time.Duration {
	const usual = 4 * time.Minute
	if s.Total > 0 {
		return s.Total
	}
	return usual
}

// Request is one client request. It is authenticated, and its body has been read.
type Request struct {
	ID       string      // assigned by the balancer
	Client   string      // for the log
	Key      *quota.Key  // of the client; nil if the configuration asks for none
	Book     *quota.Book // nil: no client key has limits
	Seat     *quota.Seat // held while the body was read
	HTTP     *http.Request
	Body     Body
	Upload   *Upload // replaces Body if the body is streamed upstream
	Start    time.Time
	Table    *routing.Table
	Settings *Settings
}

// Proxy serves requests. Safe for concurrent use.
type Proxy struct {
	log       *slog.Logger
	recorders []Recorder
	// Owners maps ids to the account that keeps the resource. It may be replaced before the first
	// request.
	Owners *routing.Owners
	// Resources maps ids to the client key that created them. It may be replaced before the first
	// request.
	Resources *quota.Resources
	// Continuations maps responses that later requests may continue to the account that gave them.
	Continuations *routing.Continuations
	// Tracer traces requests unless it is nil. It may be set before the first request.
	Tracer   Tracer
	buffers  buffers
	budget   retryBudget
	lists    modelLists
	journal  journal
	short    telemetry.Occasional // limits the log message about missing file descriptors
	scanners sync.Pool            // of *claude.PromptScanner
	identity []string             // value of Accept-Encoding, shared by all requests
	seed     maphash.Seed         // of the hashes of bodies and credentials
}

// New returns a Proxy that gives every finished request to all recorders. Prompt fingerprints are
// comparable between users of the same seed.
func New(log *slog.Logger, seed uint64, recorders ...Recorder) *Proxy {
	p := &Proxy{
		log: log, recorders: recorders, Owners: routing.NewOwners(), Resources: quota.NewResources(), Continuations: routing.NewContinuations(seed),
		short: telemetry.Occasional{Every: time.Minute}, seed: maphash.MakeSeed(), identity: []string{"identity"},
	}
	p.scanners.New = func() any { return &claude.PromptScanner{Seed: seed} }
	return p
}

// Record gives an entry to all recorders. Callers use it for requests that they reject before
// Serve.
func (p *Proxy) Record(e ledger.Entry) {
	for _, r := range p.recorders {
		r.Record(e)
	}
}

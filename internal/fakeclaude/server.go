// Package fakeclaude is an honest stand-in for the Anthropic Messages API: the
// right events in the right order, usage that follows from a prompt cache with the
// real rules, rate limits with the real headers, and every way of failing that a
// real upstream has, on demand.
//
// A request goes through four steps. It is read whole and logged; the fault book
// decides what will go wrong with it; a handler computes the healthy answer as a
// value; and a delivery sends that value at the set pace, with the fault worked in.
// So a fault changes what arrives and not what would have been said; only one that
// is to strike after a tool call sees to it that there is one.
//
// Invariants: all time and waiting comes from one Clock; what an answer says
// depends on the seed and the request alone, what its ids are and whether a fault
// strikes on the seed and the order of arrival; all memory is bounded.
package fakeclaude

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

const maxBody = 32 << 20 // of /v1/messages and count_tokens (api/errors docs)

// Server answers as the Messages API does, and under /_fake/ to its operator.
// It is an http.Handler; safe for concurrent use.
type Server struct {
	seed     uint64
	clock    Clock
	keys     map[string]*Account // nil: any credential is the account's
	account  *Account
	accounts []*Account // all of them, once each
	catalog  catalog
	schedule fault.Schedule
	log      requestLog
	control  http.Handler

	arrivals atomic.Uint64
	closed   chan struct{}
	closing  sync.Once

	mu       sync.Mutex
	settings Settings
}

// New returns a server. It holds no resources besides memory; Close only ends
// the answers that a fault keeps open. Settings that do not pass Validate are a
// programming error and panic.
func New(o Options) *Server {
	if err := o.Settings.Validate(); err != nil {
		panic("fakeclaude: " + err.Error())
	}
	if o.Name == "" {
		o.Name = "fake"
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	s := &Server{
		seed:     o.Seed,
		clock:    o.Clock,
		account:  o.Account,
		catalog:  newCatalog(o.Models),
		settings: o.Settings.withDefaults(),
		closed:   make(chan struct{}),
	}
	if s.account == nil {
		s.account = NewAccount(o.Name, o.Limits)
	}
	s.settings.Limits = s.account.currentLimits()
	s.adoptKeys(o.Keys, o.Accounts)
	s.schedule.Seed = o.Seed
	s.log.init(o.KeepRequests)
	s.control = s.newControl()
	return s
}

func (s *Server) adoptKeys(keys []string, accounts map[string]*Account) {
	s.accounts = []*Account{s.account}
	if len(keys)+len(accounts) == 0 {
		return
	}
	s.keys = map[string]*Account{}
	for _, key := range keys {
		s.keys[key] = s.account
	}
	known := map[*Account]bool{s.account: true}
	for key, account := range accounts {
		s.keys[key] = account
		if !known[account] {
			known[account] = true
			s.accounts = append(s.accounts, account)
		}
	}
}

// Close ends every answer that a stall keeps open, so that an http.Server in
// front can shut down. The server goes on answering.
func (s *Server) Close() { s.closing.Do(func() { close(s.closed) }) }

// Account is the account of requests whose credential has no account of its own.
func (s *Server) Account() *Account { return s.account }

// SetFaults replaces the rules; without any, nothing goes wrong but what the
// script says. A rule that does not pass Validate is a programming error and panics.
func (s *Server) SetFaults(rules ...fault.Rule) {
	for _, r := range rules {
		if err := r.Validate(); err != nil {
			panic("fakeclaude: " + err.Error())
		}
	}
	s.schedule.SetRules(rules, s.clock.Now())
}

// Script replaces the script: each request under /v1/ takes one fault, in order of
// arrival, a zero fault.Fault being a healthy answer; afterwards the rules decide again.
// A fault that does not pass Validate is a programming error and panics.
func (s *Server) Script(faults ...fault.Fault) {
	for _, f := range faults {
		if err := f.Validate(); err != nil {
			panic("fakeclaude: " + err.Error())
		}
	}
	s.schedule.SetScript(faults)
}

// Faults returns the rules in force.
func (s *Server) Faults() []fault.Rule { return s.schedule.Rules() }

// ScriptLeft returns what the script still holds.
func (s *Server) ScriptLeft() []fault.Fault { return s.schedule.Script() }

// Settings returns the settings in force.
func (s *Server) Settings() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// SetSettings replaces the settings for requests that arrive from now on. New
// limits go to the server's own account, whose buckets then start full.
func (s *Server) SetSettings(n Settings) error {
	if err := n.Validate(); err != nil {
		return err
	}
	n = n.withDefaults()
	s.mu.Lock()
	changed := n.Limits != s.settings.Limits
	s.settings = n
	s.mu.Unlock()
	if changed {
		s.account.SetLimits(n.Limits)
	}
	return nil
}

// Reset makes the server as new: no faults, no script, nothing remembered, empty
// caches and full buckets. Settings stay.
func (s *Server) Reset() {
	s.schedule.SetScript(nil)
	s.schedule.SetRules(nil, s.clock.Now())
	s.log.reset()
	s.arrivals.Store(0)
	for _, account := range s.accounts {
		account.Reset()
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.control.ServeHTTP(w, r)
		return
	}
	c := &call{
		server:   s,
		request:  r,
		start:    s.clock.Now(),
		settings: s.Settings(),
		account:  s.account,
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	c.body = body
	c.seq = s.arrivals.Add(1)
	c.ids = rand.New(rand.NewPCG(s.seed, c.seq^idStream))
	c.id = "req_" + token(c.ids)
	c.seen = s.log.add(c)
	if err != nil {
		s.log.finish(c.seen, func(e *RecordedRequest) { e.Outcome = OutcomeCancelled })
		return
	}
	c.read()
	var f fault.Fault
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		f = s.schedule.Next(fault.Request{Seq: c.seq, Path: r.URL.Path, Model: c.model, Stream: c.stream, At: c.start})
	}
	d := newDelivery(w, c, s.respond(c, f), f)
	err = d.run(r.Context())
	s.log.finish(c.seen, func(e *RecordedRequest) { d.report(e, err) })
	if errors.Is(err, errAbort) {
		panic(http.ErrAbortHandler)
	}
}

// The random streams that hang on one seed.
const (
	idStream    = 0x1d5_0000_0000_0000
	replyStream = 0x7e91_0000_0000
)

// replyDice depend on the seed and the request's bytes, so that the same request
// always gets the same words.
func (s *Server) replyDice(body []byte) *rand.Rand {
	return rand.New(rand.NewPCG(s.seed^replyStream, stableHash(body)))
}

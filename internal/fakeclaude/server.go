// Package fakeclaude simulates the Anthropic Messages API: its events in their order, usage that
// follows from a prompt cache with the rules of the real one, rate limits with the real headers,
// and on demand every failure of a real upstream.
//
// A request goes through four steps. The server reads and records it; the fault schedule decides
// what goes wrong with it; a handler computes the normal response as a value; and a delivery sends
// that value at the configured pace and injects the fault. A fault therefore changes what the
// client receives, and not the content of the response, with one exception: a fault that happens
// after a tool call makes the response call a tool.
//
// Invariants: all time and all waiting come from one Clock. The content of a response depends only
// on the seed and the request; its ids and its faults depend on the seed and the order of arrival.
// All memory is bounded.
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

// Server is an http.Handler that serves the Messages API, and under /_fake/ an API to control it.
// Safe for concurrent use.
type Server struct {
	seed     uint64
	clock    Clock
	keys     map[string]*Account // by credential; nil: all credentials belong to account
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

// New returns a server. It holds no resources besides memory; Close only ends the responses that a
// fault keeps open. New panics if the settings do not pass Validate.
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
	s.assignKeys(o.Keys, o.Accounts)
	s.schedule.Seed = o.Seed
	s.log.init(o.KeepRequests)
	s.control = s.newControl()
	return s
}

func (s *Server) assignKeys(keys []string, accounts map[string]*Account) {
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

// Close ends every response that a stall keeps open, so that the http.Server can shut down. The
// server continues to respond.
func (s *Server) Close() { s.closing.Do(func() { close(s.closed) }) }

// Account returns the account of requests whose credential has no other account.
func (s *Server) Account() *Account { return s.account }

// SetFaults replaces the rules. Without rules, only the script causes faults. SetFaults panics if a
// rule does not pass Validate.
func (s *Server) SetFaults(rules ...fault.Rule) {
	for _, r := range rules {
		if err := r.Validate(); err != nil {
			panic("fakeclaude: " + err.Error())
		}
	}
	s.schedule.SetRules(rules, s.clock.Now())
}

// Script replaces the script: each request under /v1/ takes one fault, in the order of arrival. A
// zero Fault is a healthy response. After the end of the script the rules decide again. Script
// panics if a fault does not pass Validate.
func (s *Server) Script(faults ...fault.Fault) {
	for _, f := range faults {
		if err := f.Validate(); err != nil {
			panic("fakeclaude: " + err.Error())
		}
	}
	s.schedule.SetScript(faults)
}

// Faults returns the current rules.
func (s *Server) Faults() []fault.Rule { return s.schedule.Rules() }

// ScriptLeft returns the rest of the script.
func (s *Server) ScriptLeft() []fault.Fault { return s.schedule.Script() }

// Settings returns the current settings.
func (s *Server) Settings() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// SetSettings replaces the settings for all later requests. New limits apply to the server's own
// account, whose buckets are then full.
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

// Reset restores the initial state: no faults, no script, no recorded requests, empty caches and
// full buckets. It keeps the settings.
func (s *Server) Reset() {
	s.schedule.SetScript(nil)
	s.schedule.SetRules(nil, s.clock.Now())
	s.log.reset()
	s.arrivals.Store(0)
	for _, account := range s.accounts {
		account.Reset()
	}
}

// ServeHTTP serves one request.
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
	c.recorded = s.log.add(c)
	if err != nil {
		s.log.finish(c.recorded, func(e *RecordedRequest) { e.Outcome = OutcomeCancelled })
		return
	}
	c.parseBody()
	var f fault.Fault
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		f = s.schedule.Next(fault.Request{Seq: c.seq, Path: r.URL.Path, Model: c.model, Stream: c.stream, At: c.start})
	}
	d := newDelivery(w, c, s.respond(c, f), f)
	err = d.run(r.Context())
	s.log.finish(c.recorded, func(e *RecordedRequest) { d.recordResult(e, err) })
	if errors.Is(err, errAbort) {
		panic(http.ErrAbortHandler)
	}
}

// The streams of random numbers that one seed has.
const (
	idStream    = 0x1d5_0000_0000_0000
	replyStream = 0x7e91_0000_0000
)

// replyRand returns random numbers that depend on the seed and the body of the request, so that the
// same request always gets the same words.
func (s *Server) replyRand(body []byte) *rand.Rand {
	return rand.New(rand.NewPCG(s.seed^replyStream, stableHash(body)))
}

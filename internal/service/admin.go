package service

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/admin"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/edge"
	"github.com/9bingyin/claude-code-lb/internal/observe"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/store"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// adminGrace is the time that open requests have when the admin listener closes.
const adminGrace = 2 * time.Second

// adminServer is the admin listener with its handler. One goroutine calls its methods.
type adminServer struct {
	*Balancer
	handler *admin.Handler
	server  *edge.Server // nil while the listener is closed
	address string       // as configured; "" while the listener is closed
	reload  atomic.Pointer[admin.Reload]
	ending  sync.WaitGroup
}

// reloadRequest asks for a reload of the configuration file.
type reloadRequest struct {
	done chan reloadResult // buffered: the sender of the result does not wait
}

// reloadResult is the result of a reload.
type reloadResult struct {
	generation uint64
	problems   config.Problems
	err        error
}

// newAdminServer returns an admin listener that is still closed. reload must be safe for concurrent
// use.
func newAdminServer(b *Balancer, metrics *observe.Metrics, books *store.Writer, reload func() (uint64, config.Problems, error)) *adminServer {
	started := time.Now()
	a := &adminServer{Balancer: b}
	gauges := observe.Sources{
		Endpoints: b.endpoints, OpenRequests: b.Handler.Open, BodyBytes: b.Handler.InFlight, Rejections: b.Handler.Rejections,
		WrongKeys: func() map[string]int64 {
			return map[string]int64{"clients": b.Handler.WrongKeys(), "admin": a.handler.WrongKeys()}
		},
	}
	if books != nil {
		gauges.Backlog = books
	}
	metrics.AddSources(gauges)
	sources := admin.Sources{
		Metrics: metrics.Handler(), Index: b.index, Reload: reload,
		Table: func() *routing.Table { return b.Handler.Current().Table },
		Zone:  func() string { return b.Handler.Current().TimeZone },
		Status: func() admin.Status {
			return admin.Status{
				Version: Version(), Generation: b.Handler.Current().Gen, Started: started.UTC(),
				Uptime: time.Since(started).Seconds(), OpenRequests: b.Handler.Open(), Ledger: backlogOf(books),
				Reload: a.reload.Load(),
			}
		},
		Requests: b.liveRequests, Decisions: b.latestDecisions, Keys: func() any { return b.book.View(time.Now()) },
	}
	if books != nil {
		sources.Ledger = books.Store
	}
	a.handler = admin.NewHandler(sources, b.cfg.AdminKey, b.log.Logger)
	return a
}

// noteReload records the result of a reload.
func (a *adminServer) noteReload(r reloadResult, now time.Time) {
	note := &admin.Reload{Time: now.UTC(), OK: r.err == nil}
	if r.err != nil {
		note.Error = r.err.Error()
	}
	for _, p := range r.problems {
		note.Problems = append(note.Problems, p.String())
	}
	a.reload.Store(note)
}

// serve listens on the admin address of a configuration and accepts its key. It binds the new
// address before it closes the former one; on an error everything stays as it was. If the default
// address is in use, serve logs a warning and serves no admin API: the operator has not asked for
// that address.
func (a *adminServer) serve(cfg *config.Config) error {
	address, chosen := cfg.AdminAddress()
	err := a.move(address, cfg)
	if err != nil && chosen {
		return err
	}
	if err != nil {
		a.close() // the former address was configured, and is no longer
		a.log.Warn(telemetry.AdminDisabled, telemetry.Address, address, telemetry.Err, err)
	}
	if a.server != nil {
		a.server.SetEngine(cfg.HTTPEngine)
	}
	a.handler.SetKey(cfg.AdminKey)
	a.handler.SetProxies(cfg.Proxies())
	return nil
}

// move listens on another address, or on none for "".
func (a *adminServer) move(address string, cfg *config.Config) error {
	if address == a.address {
		return nil
	}
	if address == "" {
		a.close()
		return nil
	}
	if samePort(address, cfg.Address()) {
		return errors.New("clients are served on this port")
	}
	server := a.server
	if server == nil {
		server = edge.NewServer(a.handler, a.log.Logger)
		server.SetEngine(cfg.HTTPEngine)
	}
	if err := listenOn(server, &a.bound.admin, address, "admin"); err != nil {
		return err
	}
	a.server, a.address = server, address
	a.log.Info(telemetry.AdminServing, telemetry.Address, server.Addr().String())
	return nil
}

// samePort reports whether two addresses conflict: same port, and same host or one of them for
// every interface.
func samePort(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	return portA == portB && portA != "0" && (hostA == hostB || hostA == "" || hostB == "")
}

// close closes the listener without waiting for open requests: one of them may have caused it.
func (a *adminServer) close() {
	server := a.server
	a.server, a.address = nil, ""
	if server == nil {
		return
	}
	a.ending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), adminGrace)
		defer cancel()
		_ = server.Drain(ctx) // cuts the requests that are still open then
	})
}

// end closes the listener and waits until its requests have ended.
func (a *adminServer) end() {
	a.close()
	a.ending.Wait()
}

// backlogOf describes the rows that a ledger has not written yet. It is nil without a ledger.
func backlogOf(books *store.Writer) *admin.Backlog {
	if books == nil {
		return nil
	}
	rows, oldest, late, aggregated := books.Backlog()
	backlog := &admin.Backlog{Rows: rows, Oldest: oldest.Seconds(), Late: late, Aggregated: aggregated}
	if reason, since := books.Trouble(); reason != "" {
		since = since.UTC()
		backlog.Reason, backlog.Since = reason, &since
	}
	return backlog
}

// endpoints returns the endpoints of the current generation.
func (b *Balancer) endpoints() []*upstream.Endpoint { return b.Handler.Current().Table.Endpoints() }

// liveRequests lists the requests in flight.
func (b *Balancer) liveRequests() []admin.Request {
	var list []admin.Request
	now := time.Now()
	for _, r := range b.proxy.Live() {
		list = append(list, admin.Request{
			ID: r.ID, Client: r.Client, Session: r.Session, Agent: r.Agent, Model: r.Model, Path: r.Path, Server: r.Server,
			Start: r.Start.UTC(), Age: now.Sub(r.Start).Seconds(), Sent: r.Sent, Received: r.Bytes,
		})
	}
	return list
}

// latestDecisions lists finished requests with the trail of their routing decisions.
func (b *Balancer) latestDecisions() []admin.Decision {
	var list []admin.Decision
	for _, d := range b.proxy.Decisions() {
		list = append(list, admin.Decision{Entry: d.Entry, Trail: d.Trail})
	}
	return list
}

// release is the version of this program without the version of Go.
func release() string { return strings.TrimSuffix(Version(), " "+runtime.Version()) }

// askReload asks the goroutine that applies generations for a reload, and waits for the result. It
// is safe for concurrent use.
func (s *service) askReload() (uint64, config.Problems, error) {
	req := reloadRequest{make(chan reloadResult, 1)}
	select {
	case s.reloads <- req:
	case <-s.stopping:
		return 0, nil, errors.New("the balancer stops")
	}
	r := <-req.done
	return r.generation, r.problems, r.err
}

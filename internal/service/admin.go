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

// adminGrace is how long requests to an admin listener that ends may take.
const adminGrace = 2 * time.Second

// adminServer is the admin listener and what stands behind it. Its methods are called by one goroutine.
type adminServer struct {
	*Balancer
	handler *admin.Handler
	server  *edge.Server // nil while nothing is listened on
	address string       // that is listened on
	reload  atomic.Pointer[admin.Reload]
	ending  sync.WaitGroup
}

// reloadRequest is the wish that the configuration file be read.
type reloadRequest struct {
	done chan reloadResult // has room for the result
}

// reloadResult is what came of a reload.
type reloadResult struct {
	generation uint64
	problems   config.Problems
	err        error
}

// newAdminServer makes an admin listener that listens nowhere yet. reload is safe for concurrent use.
func newAdminServer(b *Balancer, metrics *observe.Metrics, books *store.Writer, reload func() (uint64, config.Problems, error)) *adminServer {
	started := time.Now()
	watched := observe.Sources{Endpoints: b.endpoints, Open: b.Handler.Open, Bodies: b.Handler.InFlight, Rejections: b.Handler.Rejections}
	if books != nil {
		watched.Backlog = books
	}
	a := &adminServer{Balancer: b}
	watched.WrongKeys = func() map[string]int64 {
		return map[string]int64{"clients": b.Handler.WrongKeys(), "admin": a.handler.WrongKeys()}
	}
	metrics.Watch(watched)
	sources := admin.Sources{
		Metrics: metrics.Handler(), Index: b.index, Table: func() *routing.Table { return b.Handler.Current().Table }, Reload: reload,
		Status: func() admin.Status {
			return admin.Status{
				Version: Version(), Generation: b.Handler.Current().Gen, Started: started.UTC(), Uptime: time.Since(started).Seconds(), Open: b.Handler.Open(), Ledger: backlogOf(books), Reload: a.reload.Load(),
			}
		},
		Requests: b.liveRequests, Decisions: b.latestDecisions, Keys: func() any { return b.book.View(time.Now()) },
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

// serve listens where a configuration says, under its key. The new address is bound before the former one is given up; on an error everything
// stays as it was. Nobody relies on an address that nobody chose: if that is taken, there is a warning and no listener.
func (a *adminServer) serve(cfg *config.Config) error {
	address, chosen := cfg.AdminAddress()
	err := a.move(address, cfg)
	if err != nil && chosen {
		return err
	}
	if err != nil {
		a.close() // where it was chosen to be before, it is no longer
		a.log.Warn(telemetry.AdminTaken, telemetry.Address, address, telemetry.Err, err)
	}
	if a.server != nil {
		a.server.SetEngine(cfg.HTTPEngine)
	}
	a.handler.SetKey(cfg.AdminKey)
	a.handler.SetProxies(cfg.Proxies())
	return nil
}

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

// samePort says whether two addresses cannot both be listened on, at least where one is of every interface.
func samePort(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	return portA == portB && portA != "0" && (hostA == hostB || hostA == "" || hostB == "")
}

// close ends the listener. What is being asked there may be what closes it, so that nobody waits for it here.
func (a *adminServer) close() {
	server := a.server
	a.server, a.address = nil, ""
	if server == nil {
		return
	}
	a.ending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), adminGrace)
		defer cancel()
		_ = server.Drain(ctx) // what is open after that is cut
	})
}

// end closes the listener for good.
func (a *adminServer) end() {
	a.close()
	a.ending.Wait()
}

// backlogOf is what a ledger has not written yet, nil without one.
func backlogOf(books *store.Writer) *admin.Backlog {
	if books == nil {
		return nil
	}
	rows, oldest, late, folded := books.Backlog()
	backlog := &admin.Backlog{Rows: rows, Oldest: oldest.Seconds(), Late: late, Folded: folded}
	if reason, since := books.Trouble(); reason != "" {
		since = since.UTC()
		backlog.Reason, backlog.Since = reason, &since
	}
	return backlog
}

// endpoints are those of the generation in force.
func (b *Balancer) endpoints() []*upstream.Endpoint { return b.Handler.Current().Table.Endpoints() }

func (b *Balancer) liveRequests() []admin.Request {
	var list []admin.Request
	now := time.Now()
	for _, r := range b.forward.Live() {
		list = append(list, admin.Request{
			ID: r.ID, Client: r.Client, Session: r.Session, Agent: r.Agent, Model: r.Model, Path: r.Path, Server: r.Server,
			Start: r.Start.UTC(), Age: now.Sub(r.Start).Seconds(), Sent: r.Sent, Received: r.Bytes,
		})
	}
	return list
}

func (b *Balancer) latestDecisions() []admin.Decision {
	var list []admin.Decision
	for _, d := range b.forward.Decisions() {
		list = append(list, admin.Decision{Entry: d.Entry, Trail: d.Trail})
	}
	return list
}

// release is the version without that of Go.
func release() string { return strings.TrimSuffix(Version(), " "+runtime.Version()) }

// askReload has the configuration read by the goroutine that applies generations, and waits for what comes of it.
func (s *service) askReload() (uint64, config.Problems, error) {
	wish := reloadRequest{make(chan reloadResult, 1)}
	select {
	case s.reloads <- wish:
	case <-s.stopping:
		return 0, nil, errors.New("the balancer stops")
	}
	r := <-wish.done
	return r.generation, r.problems, r.err
}

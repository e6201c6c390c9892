package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/edge"
)

// bound are the listeners of a start. The process opens them before anything else, so that a second
// instance does not touch the ledger or the state of the first.
type bound struct {
	clients, admin net.Listener // admin is nil unless its address was chosen
}

// bind opens the listeners. Connections that arrive before the servers run wait in the kernel.
func bind(cfg *config.Config) (bound, error) {
	address := cfg.Address()
	clients, err := edge.Bind(address)
	if err != nil {
		return bound{}, explainBinding(err, address, clientsField(cfg))
	}
	b := bound{clients: clients}
	admin, chosen := cfg.AdminAddress()
	if !chosen || admin == "" || samePort(admin, address) {
		return b, nil
	}
	if b.admin, err = edge.Bind(admin); err != nil {
		clients.Close()
		return bound{}, explainBinding(err, admin, "admin")
	}
	return b, nil
}

// listenOn starts a server on the listener that bind has opened. If that is in use already, it
// opens the address.
func listenOn(s *edge.Server, opened *net.Listener, address, field string) error {
	if l := *opened; l != nil {
		*opened = nil
		s.ListenOn(l)
		return nil
	}
	return explainBinding(s.Listen(address), address, field)
}

// clientsField names the field that sets the address for clients.
func clientsField(cfg *config.Config) string {
	if cfg.Listen != "" {
		return "listen"
	}
	return "port"
}

// explainBinding explains why the balancer cannot listen on an address, and which field to change.
func explainBinding(err error, address, field string) error {
	if err == nil {
		return nil
	}
	switch {
	case isAddressTaken(err):
		return fmt.Errorf("%w: %s has it; stop it, or write another address in %q", err, holderOf(address), field)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine does not have the address; correct %q", err, field)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: a port below 1024 may need rights (on Linux the capability CAP_NET_BIND_SERVICE); write another address in %q", err, field)
	}
	return fmt.Errorf("%w: see %q", err, field)
}

func isAddressTaken(err error) bool {
	const windowsTaken = syscall.Errno(10048) // WSAEADDRINUSE
	return errors.Is(err, syscall.EADDRINUSE) || runtime.GOOS == "windows" && errors.Is(err, windowsTaken)
}

// holderTime bounds the search for the process that has an address.
const holderTime = time.Second

// holderOf describes the process that listens on an address: by name and pid if the operating
// system shows them, with the version for an instance of this program, and otherwise by its
// response to a request.
func holderOf(address string) string {
	if p, ok := listenerOn(address); ok {
		switch {
		case p.pid == os.Getpid():
			return "another listener of this balancer"
		case p.version != "":
			return fmt.Sprintf("another claude-code-lb (version %s, pid %d)", p.version, p.pid)
		}
		return fmt.Sprintf("%s (pid %d)", p.name, p.pid)
	}
	ctx, cancel := context.WithTimeout(context.Background(), holderTime)
	defer cancel()
	if _, err := AskHealth(ctx, LocalAddress(address), false); err == nil {
		return "another claude-code-lb, of another user or in a container,"
	}
	return "another process"
}

// process is a process that listens on an address.
type process struct {
	pid           int
	name, version string // version is "" unless it is an instance of this program
}

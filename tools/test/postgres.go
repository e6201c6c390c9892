package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// postgresVariable is the environment variable with the URL of a PostgreSQL server that tests may
// change in any way.
const postgresVariable = "TEST_POSTGRES"

// postgres is a server that this run has started.
type postgres struct {
	url     string
	dir     string
	process *exec.Cmd
}

// startPostgres starts a server with an empty cluster on a free port. PostgreSQL refuses to run as
// root, so root runs it as the first suitable other user.
func startPostgres(ctx context.Context) (*postgres, error) {
	initdb, err := findPostgres("initdb")
	if err != nil {
		return nil, err
	}
	p := &postgres{}
	if p.dir, err = os.MkdirTemp("", "claude-code-lb-postgres-"); err != nil {
		return nil, err
	}
	if err := p.start(ctx, initdb); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *postgres) start(ctx context.Context, initdb string) error {
	lend, err := unprivileged(p.dir)
	if err != nil {
		return err
	}
	data := filepath.Join(p.dir, "data")
	prepare := exec.CommandContext(ctx, initdb, "-D", data, "-A", "trust", "-U", "test", "-E", "UTF8", "--no-sync")
	prepare.Dir = p.dir
	lend(prepare)
	if out, err := prepare.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, lastLine(out))
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	p.process = exec.Command(filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-p", strconv.Itoa(port), "-k", p.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=32MB")
	p.process.Dir = p.dir
	lend(p.process)
	if err := p.process.Start(); err != nil {
		return err
	}
	p.url = fmt.Sprintf("postgres://test@127.0.0.1:%d/postgres?sslmode=disable", port)
	return awaitPort(ctx, port)
}

func (p *postgres) stop() {
	if p.process != nil && p.process.Process != nil {
		_ = p.process.Process.Signal(os.Interrupt) // SIGINT is PostgreSQL's fast shutdown
		_ = p.process.Wait()
	}
	_ = os.RemoveAll(p.dir)
}

// findPostgres finds a program of the server. Distributions do not put them in PATH.
func findPostgres(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed on this machine")
	}
	return found[len(found)-1], nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func awaitPort(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not accept connections: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

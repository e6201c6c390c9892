package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// firstContent is the program's limit for the first content of a stream.
const firstContent = 8 * time.Second

// balancer is the running program.
type balancer struct {
	cmd        *exec.Cmd
	url, admin string
	client     *http.Client  // of the admin listener
	ended      chan struct{} // closed when its log has ended
}

// startBalancer runs the program in front of upstreams, with a ledger, and waits until it serves.
func startBalancer(ctx context.Context, binary, dir string, u *upstreams) (*balancer, error) {
	file := filepath.Join(dir, "config.json")
	var servers []map[string]any
	for i, url := range u.urls {
		servers = append(servers, map[string]any{"name": fmt.Sprint("upstream-", i), "url": url, "token": fmt.Sprint("sk-", i)})
	}
	text, err := json.Marshal(map[string]any{
		"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "servers": servers, "cooldown": "300ms", "slow_start": 0, "max_wait": "5s",
		"timeouts": map[string]any{"response_header": firstContent.String(), "idle": firstContent.String()}, "breaker": map[string]any{"consecutive": 8, "percent": 100},
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	b := &balancer{cmd: exec.Command(binary, "-c", file), client: &http.Client{Timeout: 30 * time.Second}, ended: make(chan struct{})}
	b.cmd.Dir = dir
	b.cmd.Env = append(os.Environ(), "NO_COLOR=1")
	log, err := b.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	serving := make(chan bool, 1)
	go b.follow(log, serving)
	select {
	case ok := <-serving:
		if ok {
			return b, b.allowProfiles(ctx)
		}
		err = errors.New("the program did not begin to serve")
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.stop()
	return nil, err
}

// follow reads the log: the address of the listener, and messages that must not occur.
func (b *balancer) follow(log io.Reader, serving chan<- bool) {
	defer close(b.ended)
	defer func() { serving <- false }() // the receiver may have left
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) != nil || strings.Contains(line.Msg, "panicked") {
			fmt.Fprintln(os.Stderr, lines.Text())
			continue
		}
		switch line.Msg {
		case "listening":
			b.url = "http://" + line.Address
		case "admin API listening":
			b.admin = "http://" + line.Address
			serving <- true
		}
	}
}

// stop ends the program.
func (b *balancer) stop() {
	b.client.CloseIdleConnections()
	b.cmd.Process.Kill()
	<-b.ended
	b.cmd.Wait()
}

// allowProfiles opens heap profiles, which trigger garbage collections, for a day.
func (b *balancer) allowProfiles(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.admin+"/admin/api/pprof", strings.NewReader(`{"minutes": 1440}`))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	_, err = b.read(r)
	return err
}

// get returns a page of the admin listener.
func (b *balancer) get(path string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, b.admin+path, nil)
	if err != nil {
		return "", err
	}
	return b.read(r)
}

func (b *balancer) read(r *http.Request) (string, error) {
	res, err := b.client.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %s", r.URL.Path, res.StatusCode, text)
	}
	return string(text), err
}

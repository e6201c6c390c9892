package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"claude-code-lb/internal/edge"
)

const healthCheckTimeout = 5 * time.Second

// runHealthCheck asks the instance that the configuration names. It works with
// a configuration that has errors as long as the address can be read: the
// running instance may still be on the one before.
func runHealthCheck(ctx context.Context, std Std, file string) int {
	path := configPath(std, file)
	cfg, _, err := loadConfig(std, path)
	if err != nil {
		explainUnreadable(std.Err, path, err)
		return exitError
	}
	health, err := askHealth(ctx, localAddress(cfg.Address()))
	if err != nil {
		fmt.Fprintf(std.Err, "unhealthy: %v\n", err)
		return exitError
	}
	fmt.Fprintf(std.Out, "%s: %d of %d servers available\n", health.Status, health.Available, health.Total)
	if health.Available == 0 {
		return exitError
	}
	return exitOK
}

func askHealth(ctx context.Context, address string) (*edge.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, healthCheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health", nil)
	if err != nil {
		return nil, err
	}
	// Never through a proxy: the instance runs on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var health edge.Health
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&health); err != nil || health.Status == "" {
		return nil, fmt.Errorf("what answers on %s is not claude-code-lb (status %d)", address, res.StatusCode)
	}
	return &health, nil
}

// localAddress is where to reach a listener on this machine.
func localAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

package service

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/edge"
)

const healthCheckTimeout = 5 * time.Second

// AskHealth asks the running instance for its health, over HTTPS or plain HTTP. If that fails, it
// tries the other one: the instance may run an older configuration than the file has.
func AskHealth(ctx context.Context, address string, secure bool) (*edge.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, healthCheckTimeout)
	defer cancel()
	first, second := "http", "https"
	if secure {
		first, second = second, first
	}
	health, err := askHealthOver(ctx, first, address)
	if err == nil {
		return health, nil
	}
	if health, otherErr := askHealthOver(ctx, second, address); otherErr == nil {
		return health, nil
	}
	return nil, err
}

func askHealthOver(ctx context.Context, scheme, address string) (*edge.Health, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+"/health", nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{ // never through a proxy: the instance runs on this machine
		DisableKeepAlives: true,
		// The certificate is for the name that clients use. Neither request nor response is secret.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var health edge.Health
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&health); err != nil || health.Status == "" {
		return nil, fmt.Errorf("the process on %s is not claude-code-lb (status %d)", address, res.StatusCode)
	}
	return &health, nil
}

// LocalAddress is the address of a listener for clients on the same machine.
func LocalAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

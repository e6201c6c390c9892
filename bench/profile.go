package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// profiler takes processor profiles of the product while it is measured. A nil profiler takes none.
type profiler struct {
	dir   string
	files []string
}

// administration finds the address of the admin listener in the log.
var administration = regexp.MustCompile(`admin API listening.*?(127\.0\.0\.1:\d+)`)

// begin takes a profile of a window that begins now. wait waits for its end.
func (p *profiler) begin(ctx context.Context, r *running, window time.Duration) (wait func() error, err error) {
	if p == nil || r.cmd == nil {
		return nothing, nil
	}
	said, err := os.ReadFile(r.output)
	if err != nil {
		return nil, err
	}
	found := administration.FindSubmatch(said)
	if found == nil {
		return nil, errors.New("the log lacks the address of the admin listener")
	}
	url := "http://" + string(found[1])
	if err := ask(ctx, http.MethodPost, url+"/admin/api/pprof", `{"minutes": 60}`, io.Discard); err != nil {
		return nil, fmt.Errorf("allow profiles: %w", err)
	}
	file := filepath.Join(p.dir, fmt.Sprintf("profile-%d", len(p.files)))
	p.files = append(p.files, file)
	taken := make(chan error, 1)
	go func() {
		var profile bytes.Buffer
		err := ask(ctx, http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", url, max(1, int(window.Seconds()))), "", &profile)
		taken <- errors.Join(err, os.WriteFile(file, profile.Bytes(), 0o600))
	}()
	return func() error {
		if err := <-taken; err != nil {
			return fmt.Errorf("take a profile: %w", err)
		}
		return nil
	}, nil
}

func ask(ctx context.Context, method, url, body string, into io.Writer) error {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(into, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("status %d", resp.StatusCode))
	}
	return nil
}

// merge merges all profiles into one.
func (p *profiler) merge(ctx context.Context, file string) error {
	args := append([]string{"tool", "pprof", "-proto", "-symbolize=none", "-output=" + file}, p.files...)
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("merge the profiles: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

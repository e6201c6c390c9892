package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// ours is the name of the product among the proxies.
const ours = "claude-code-lb"

// proxy is a program that forwards to the upstreams.
type proxy struct {
	name    string
	program string // "" for the direct connection
	version string
	wires   []wire // that it supports to upstreams
	// configure writes its configuration into dir and returns its arguments and additional
	// environment variables.
	configure func(dir, listen string, up upstreams) (args, env []string, err error)
}

func direct() proxy {
	return proxy{name: "direct", wires: []wire{wirePlain, wireTLS, wireHTTP2, wireClients}}
}

func balancer(program, engine string) proxy {
	return proxy{name: ours, program: program, configure: configureBalancer(engine), wires: []wire{wirePlain, wireTLS, wireHTTP2, wireClients}}
}

// peers returns the installed proxies to compare with, and the names of missing ones.
func peers(ctx context.Context) (found []proxy, missing []string) {
	known := []struct {
		proxy
		versionFlag, versionForm string
	}{
		{proxy{name: "nginx", configure: configureNginx, wires: []wire{wirePlain, wireTLS, wireClients}}, "-v", `nginx/(\S+)`},
		{proxy{name: "HAProxy", configure: configureHAProxy, wires: []wire{wirePlain, wireTLS, wireHTTP2, wireClients}}, "-v", `version (\d[\d.]*)`},
	}
	for _, k := range known {
		path, err := exec.LookPath(strings.ToLower(k.name))
		if err != nil {
			missing = append(missing, k.name)
			continue
		}
		k.program = path
		out, err := exec.CommandContext(ctx, path, k.versionFlag).CombinedOutput()
		if m := regexp.MustCompile(k.versionForm).FindSubmatch(out); err == nil && m != nil {
			k.version = string(m[1])
		}
		found = append(found, k.proxy)
	}
	return found, missing
}

// configureBalancer returns a function that writes a typical configuration: servers, a client key,
// and only defaults, except for the engine if one is named.
func configureBalancer(engine string) func(dir, listen string, up upstreams) (args, env []string, err error) {
	return func(dir, listen string, up upstreams) (args, env []string, err error) {
		return writeBalancer(engine, dir, listen, up)
	}
}

// writeBalancer writes the configuration. Ledger and other state are below dir; the admin listener
// is on.
func writeBalancer(engine, dir, listen string, up upstreams) (args, env []string, err error) {
	var servers []object
	for i, address := range up.addresses() {
		servers = append(servers, object{"url": up.scheme() + "://" + address, "token": fmt.Sprint("sk-bench-upstream-", i+1)})
	}
	settings := object{
		"listen": listen, "admin": "127.0.0.1:0", "state_dir": filepath.Join(dir, "state"),
		"auth": true, "auth_keys": []string{clientKey}, "servers": servers,
	}
	if engine != "" {
		settings["http_engine"] = engine
	}
	if up.Wire == wireClients {
		settings["tls_cert"], settings["tls_key"] = filepath.Join(dir, "..", certFile), filepath.Join(dir, "..", keyFile)
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, "config.json")
	env = []string{"SSL_CERT_FILE=" + filepath.Join(dir, "..", certFile)}
	return []string{"-c", file}, env, os.WriteFile(file, text, 0o600)
}

const nginxForm = `daemon off;
worker_processes 1;
worker_rlimit_nofile {{.Files}};
pid nginx.pid;
{{if .Root}}user root;{{end}}
events { worker_connections {{.Connections}}; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path answers;
    fastcgi_temp_path f;
    uwsgi_temp_path u;
    scgi_temp_path s;
    client_max_body_size 32m;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    upstream simulators {
        {{range .Upstreams}}server {{.}};
        {{end}}keepalive 512;
        keepalive_requests 1000000000;
    }
    server {
        listen {{.Listen}} backlog=4096{{if .Encrypted}} ssl{{end}};
        {{if .Encrypted}}ssl_certificate {{.CA}};
        ssl_certificate_key {{.Key}};{{end}}
        location / {
            proxy_pass {{.Scheme}}://simulators;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 10m;
            {{if eq .Scheme "https"}}proxy_ssl_verify on;
            proxy_ssl_name {{.Name}};
            proxy_ssl_trusted_certificate {{.CA}};{{end}}
        }
    }
}
`

func configureNginx(dir, listen string, up upstreams) (args, env []string, err error) {
	file := filepath.Join(dir, "nginx.conf")
	return []string{"-p", dir, "-e", "error.log", "-c", file}, nil, writeForm(nginxForm, file, dir, listen, up)
}

const haproxyForm = `global
    nbthread 1
    maxconn {{.Connections}}
defaults
    mode http
    timeout connect 10s
    timeout client 10m
    timeout server 10m
    option http-no-delay
    http-reuse always
frontend clients
    bind {{.Listen}} backlog 4096{{if .Encrypted}} ssl crt {{.Both}}{{end}}
    default_backend simulators
backend simulators
    balance roundrobin
{{range $i, $address := .Upstreams}}    server s{{$i}} {{$address}} pool-max-conn 512{{if eq $.Scheme "https"}} ssl verify required sni str({{$.Name}}) ca-file {{$.CA}} alpn {{$.ALPN}}{{end}}
{{end}}`

func configureHAProxy(dir, listen string, up upstreams) (args, env []string, err error) {
	file := filepath.Join(dir, "haproxy.cfg")
	return []string{"-db", "-f", file}, nil, writeForm(haproxyForm, file, dir, listen, up)
}

// writeForm writes a configuration from a template.
func writeForm(form, file, dir, listen string, up upstreams) error {
	// Every stream takes a descriptor on both sides.
	files := min(max(raiseFileLimit(), 1024), 65536)
	values := struct {
		Listen, Scheme, Name, CA, Key, Both, ALPN string
		Encrypted                                 bool // for clients
		Upstreams                                 []string
		Files, Connections                        uint64
		Root                                      bool
	}{
		Listen: listen, Scheme: up.scheme(), Name: upstreamName, CA: filepath.Join(dir, "..", certFile), ALPN: "http/1.1",
		Key: filepath.Join(dir, "..", keyFile), Both: filepath.Join(dir, "..", bothFile), Encrypted: up.Wire == wireClients,
		Upstreams: up.addresses(), Files: files, Connections: files/2 - 100, Root: os.Geteuid() == 0,
	}
	if up.Wire == wireHTTP2 {
		values.ALPN = "h2"
	}
	var text bytes.Buffer
	if err := template.Must(template.New("").Parse(form)).Execute(&text, values); err != nil {
		return err
	}
	return os.WriteFile(file, text.Bytes(), 0o600)
}

// running is a started proxy; the zero value is the direct connection.
type running struct {
	addresses []string
	encrypted bool // clients speak TLS
	cmd       *exec.Cmd
	output    string // file with its output
	ended     chan struct{}
}

// start starts a proxy with a separate directory below dir and waits until it listens.
func (p proxy) start(ctx context.Context, dir string, up upstreams) (*running, error) {
	if p.program == "" {
		return &running{addresses: up.Plain}, nil
	}
	fail := func(err error) (*running, error) { return nil, fmt.Errorf("start %s: %w", p.name, err) }
	dir, err := os.MkdirTemp(dir, "proxy-")
	if err != nil {
		return fail(err)
	}
	listen, err := freeAddress()
	if err != nil {
		return fail(err)
	}
	args, env, err := p.configure(dir, listen, up)
	if err != nil {
		return fail(err)
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return fail(err)
	}
	defer output.Close()
	r := &running{addresses: []string{listen}, encrypted: up.Wire == wireClients, output: output.Name(), ended: make(chan struct{})}
	r.cmd = exec.CommandContext(ctx, p.program, args...)
	r.cmd.Dir, r.cmd.Env = dir, append(os.Environ(), env...)
	r.cmd.Stdout, r.cmd.Stderr = output, output
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(syscall.SIGTERM) }
	r.cmd.WaitDelay = 5 * time.Second
	if err := r.cmd.Start(); err != nil {
		return fail(err)
	}
	go func() {
		r.cmd.Wait() // its result is in ProcessState
		close(r.ended)
	}()
	if err := r.listens(ctx, listen); err != nil {
		return fail(errors.Join(err, r.lastOutput()))
	}
	return r, nil
}

// listens waits until the address accepts connections.
func (r *running) listens(ctx context.Context, address string) error {
	for end := time.Now().Add(patience); time.Now().Before(end); sleep(ctx, 20*time.Millisecond) {
		select {
		case <-r.ended:
			return fmt.Errorf("it ended: %v", r.cmd.ProcessState)
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.New("it does not listen")
}

// lastOutput returns the end of the proxy's output as an error.
func (r *running) lastOutput() error {
	text, err := os.ReadFile(r.output)
	if err != nil {
		return err
	}
	return fmt.Errorf("it wrote: %s", text[max(0, len(text)-2000):])
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// wire is the protocol between a proxy and its upstreams, and its clients.
type wire string

const (
	wirePlain wire = "HTTP/1.1"
	wireTLS   wire = "HTTP/1.1 over TLS"
	wireHTTP2 wire = "HTTP/2 over TLS"
	// wireClients is TLS between clients and proxy.
	wireClients wire = "HTTP/1.1, clients over TLS"
)

// plain reports whether the connections to upstreams have no TLS.
func (w wire) plain() bool { return w == wirePlain || w == wireClients }

// accounts is the number of upstreams.
const accounts = 3

// upstreamName is the name in the upstreams' certificate, besides 127.0.0.1.
const upstreamName = "upstream.test"

// upstreamVariable makes this program the upstream: it contains an upstreamSpec. The upstream is a
// separate process, so that its work counts neither for the proxy nor for the load generator.
const upstreamVariable = "CLAUDE_CODE_LB_BENCH_UPSTREAM"

type upstreamSpec struct {
	Settings fakeclaude.Settings
	Wire     wire
	Dir      string // directory of certificate and key
}

// upstreams are the addresses of running simulators.
type upstreams struct {
	Plain []string // for the direct connection, and for proxies unless Wire is over TLS
	TLS   []string
	Wire  wire `json:"-"`
}

// addresses returns the addresses for the proxy.
func (u upstreams) addresses() []string {
	if u.Wire.plain() {
		return u.Plain
	}
	return u.TLS
}

func (u upstreams) scheme() string {
	if u.Wire.plain() {
		return "http"
	}
	return "https"
}

// startUpstreams starts the simulators in a process that ends with ctx, or with this process.
func startUpstreams(ctx context.Context, spec upstreamSpec) (upstreams, *exec.Cmd, error) {
	fail := func(err error) (upstreams, *exec.Cmd, error) {
		return upstreams{}, nil, fmt.Errorf("start the upstreams: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return fail(err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), upstreamVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	if _, err = cmd.StdinPipe(); err != nil { // its end signals the end of this process to the child
		return fail(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	u := upstreams{Wire: spec.Wire}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &u)
	}
	if err != nil {
		return fail(errors.Join(err, cmd.Process.Kill(), cmd.Wait()))
	}
	return u, cmd, nil
}

// serveUpstreams is the child: it serves until its standard input ends. The first line of its
// output has the addresses.
func serveUpstreams(specText string) error {
	var spec upstreamSpec
	if err := json.Unmarshal([]byte(specText), &spec); err != nil {
		return fmt.Errorf("specification: %w", err)
	}
	var u upstreams
	served := make(chan error, 2*accounts)
	serve := func(handler http.Handler, over wire) (string, error) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		server := newUpstream(handler, over)
		go func() {
			if over == wirePlain {
				served <- server.Serve(listener)
			} else {
				served <- server.ServeTLS(listener, filepath.Join(spec.Dir, certFile), filepath.Join(spec.Dir, keyFile))
			}
		}()
		return listener.Addr().String(), nil
	}
	for i := range accounts {
		fake := fakeclaude.New(fakeclaude.Options{Name: fmt.Sprint("account-", i+1), KeepRequests: -1, Settings: spec.Settings})
		address, err := serve(fake, wirePlain)
		if err != nil {
			return err
		}
		u.Plain = append(u.Plain, address)
		if spec.Wire.plain() {
			continue
		}
		if address, err = serve(fake, spec.Wire); err != nil {
			return err
		}
		u.TLS = append(u.TLS, address)
	}
	if err := json.NewEncoder(os.Stdout).Encode(u); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		served <- err
	}()
	return <-served
}

func newUpstream(handler http.Handler, over wire) *http.Server {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // clients leave in the middle of streams
		Protocols:         new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(over == wireHTTP2)
	return server
}

const (
	certFile = "upstream.crt"
	keyFile  = "upstream.key"
	bothFile = "upstream.pem" // the form that HAProxy needs
)

// writeCertificate writes a self-signed certificate for 127.0.0.1, and its key.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: upstreamName},
		DNSNames:              []string{upstreamName},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	write := func(name string, text []byte) error { return os.WriteFile(filepath.Join(dir, name), text, 0o600) }
	return errors.Join(write(certFile, certPEM), write(keyFile, keyPEM), write(bothFile, append(certPEM, keyPEM...)))
}

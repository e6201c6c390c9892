package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// certificate is a self-signed certificate for a name and for this machine.
type certificate struct {
	cert, key []byte // PEM
	pool      *x509.CertPool
}

func newCertificate(t *testing.T, name string, until time.Time) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: until,
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := certificate{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pool: x509.NewCertPool(),
	}
	c.pool.AppendCertsFromPEM(c.cert)
	return c
}

func valid() time.Time { return time.Now().Add(24 * time.Hour) }

// write writes the certificate to a directory, as cert.pem and key.pem.
func (c certificate) write(t *testing.T, dir string) {
	t.Helper()
	replaceFile(t, filepath.Join(dir, "key.pem"), c.key)
	replaceFile(t, filepath.Join(dir, "cert.pem"), c.cert)
}

// secured returns a configuration with the certificate of its directory.
func secured(cfg object) object {
	return cfg.with("tls_cert", "cert.pem").with("tls_key", "key.pem")
}

// startSecure runs a balancer with HTTPS.
func startSecure(t *testing.T, c certificate, cfg object) *balancer {
	t.Helper()
	dir := t.TempDir()
	c.write(t, dir)
	file := filepath.Join(dir, "config.json")
	writeConfig(t, file, secured(cfg))
	b := startFile(t, file)
	b.trust(c, 2)
	return b
}

// trust makes the balancer's clients use HTTPS with a version of HTTP.
func (b *balancer) trust(c certificate, version int) {
	b.client.CloseIdleConnections()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(version == 1)
	protocols.SetHTTP2(version == 2)
	b.client = &http.Client{Transport: &http.Transport{DisableCompression: true, Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: c.pool}}}
	b.url = "https://" + b.address()
}

// address returns the address of the listener.
func (b *balancer) address() string {
	_, address, _ := strings.Cut(b.url, "://")
	return address
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	c := newCertificate(t, "lb.example", valid())
	b := startSecure(t, c, balanced("round_robin", f.entry()))
	for _, version := range []int{1, 2} {
		b.trust(c, version)
		b.mustServe(false, f)
		b.mustServe(true, f)
		res, err := b.client.Get(b.url + "/health")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.ProtoMajor != version || res.TLS.Version < tls.VersionTLS12 {
			t.Errorf("%s over %s, want HTTP/%d", res.Proto, tls.VersionName(res.TLS.Version), version)
		}
	}

	res, err := http.Get("http://" + b.address() + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "HTTPS") {
		t.Errorf("plain HTTP: status %d: %s", res.StatusCode, body)
	}
	old := &tls.Config{RootCAs: c.pool, MaxVersion: tls.VersionTLS11}
	if conn, err := tls.Dial("tcp", b.address(), old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

// TestManyStreamsOverOneConnection checks that streams neither block nor end each other.
func TestManyStreamsOverOneConnection(t *testing.T) {
	t.Parallel()
	const streams = 300
	f := newFake(t, "a")
	b := startSecure(t, newCertificate(t, "lb.example", valid()), balanced("round_robin", f.entry()))
	var dials atomic.Int64
	b.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	b.mustServe(true, f)
	f.Script(slices.Repeat([]fault.Fault{heldMidText}, streams)...)
	open := make(chan *openStream, streams)
	var all sync.WaitGroup
	for range streams {
		all.Go(func() { open <- b.open(t) })
	}
	all.Wait()
	if n := dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	gone := <-open
	gone.leave()
	eventually(t, "the upstream notices that a client has left", func() bool { return f.Stats().Cancelled == 1 })
	f.release()
	for range streams - 1 {
		(<-open).mustEndWhole()
	}
}

// TestStreamOverHTTP2Breaks checks that a stream that breaks off upstream breaks off for the
// client, and that its neighbors continue.
func TestStreamOverHTTP2Breaks(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	f.Script(heldMidText, fault.Fault{Kind: fault.Reset, At: fault.AtMidText})
	b := startSecure(t, newCertificate(t, "lb.example", valid()), balanced("round_robin", f.entry()))
	s := b.open(t)
	a := b.ask(true)
	names := eventNames(a.body)
	if a.err == nil || !strings.Contains(a.err.Error(), "INTERNAL_ERROR") || len(names) == 0 || names[len(names)-1] != "error" {
		t.Errorf("a stream that broke off: %v, %q", a.err, names)
	}
	f.release()
	s.mustEndWhole()
}

// TestLargeBodiesOverHTTP2 checks bodies that share the window of their connection.
func TestLargeBodiesOverHTTP2(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := startSecure(t, newCertificate(t, "lb.example", valid()), balanced("round_robin", f.entry()))
	body := strings.Replace(message(false), "hello there", strings.Repeat("hello there ", 170_000), 1)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			a := b.do(http.MethodPost, "/v1/messages", body)
			if problem := a.flaw(false); problem != "" {
				t.Error(problem)
			}
		})
	}
	all.Wait()
}

// served returns the certificate that clients get.
func (b *balancer) served(t *testing.T) []byte {
	t.Helper()
	conn, err := tls.Dial("tcp", b.address(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil
	}
	defer conn.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: conn.ConnectionState().PeerCertificates[0].Raw})
}

// TestCertificateIsRenewed renews it while a stream is open, which continues.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	f.Script(heldMidText)
	first, second := newCertificate(t, "lb.example", valid()), newCertificate(t, "lb.example", valid())
	b := startSecure(t, first, balanced("round_robin", f.entry()))
	s := b.open(t)

	replaceFile(t, filepath.Join(filepath.Dir(b.file), "cert.pem"), second.cert) // its key follows later
	b.waitLog("configuration not reloaded; the previous one stays active", nil)
	if got := b.served(t); string(got) != string(first.cert) {
		t.Errorf("with a certificate without its key, this is served:\n%s", got)
	}
	second.write(t, filepath.Dir(b.file))
	eventually(t, "the new certificate is served", func() bool { return string(b.served(t)) == string(second.cert) })
	f.release()
	s.mustEndWhole()
	b.trust(second, 2)
	b.mustServe(true, f)
}

// TestHTTPSOnAndOff switches between HTTPS and HTTP on one port by reloads.
func TestHTTPSOnAndOff(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	f.Script(heldMidText)
	c := newCertificate(t, "lb.example", valid())
	cfg := balanced("round_robin", f.entry()).with("listen", freeAddress(t))
	b := start(t, cfg)
	s := b.open(t)
	c.write(t, filepath.Dir(b.file))
	health := func() {
		t.Helper()
		if r := run(t, invocation{args: []string{"-health-check", "-c", b.file}}); r.status != 0 {
			t.Errorf("-health-check: %d %s%s", r.status, r.stdout, r.stderr)
		}
	}

	b.reconfigure(secured(cfg))
	b.waitLog("listening", about("tls", "true"))
	b.trust(c, 2)
	b.mustServe(true, f)
	health()
	f.release()
	s.mustEndWhole()

	b.reconfigure(cfg)
	b.client, b.url = &http.Client{}, "http://"+b.address()
	b.mustServe(true, f)
	health()
}

func TestBadCertificates(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	good, other, old := newCertificate(t, "a", valid()), newCertificate(t, "a", valid()), newCertificate(t, "a", time.Now().AddDate(0, 0, -2))
	expect := func(cert, key []byte, status int, want string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "config.json")
		certificate{cert: cert, key: key}.write(t, filepath.Dir(file))
		writeConfig(t, file, secured(balanced("round_robin", f.entry())))
		r := run(t, invocation{args: []string{"check", "-c", file}})
		if r.status != status || !strings.Contains(r.stderr, want) {
			t.Errorf("check: status %d, want %d and %q:\n%s", r.status, status, want, r.stderr)
		}
		if strings.Contains(r.stdout+r.stderr, "PRIVATE") {
			t.Errorf("a key is printed:\n%s%s", r.stdout, r.stderr)
		}
		if status == 0 {
			return
		}
		if r := run(t, invocation{args: []string{"-c", file}}); r.status != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("start: status %d, want 1 and %q:\n%s", r.status, want, r.stderr)
		}
	}
	expect(good.cert, good.key, 0, "ok")
	expect(old.cert, old.key, 0, "tls_cert: warning: expired on")
	expect(good.cert, other.key, 1, "private key does not match public key")
	expect([]byte("hello"), good.key, 1, `"cert.pem" holds no PEM block`)
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, secured(balanced("round_robin", f.entry())))
	if r := run(t, invocation{args: []string{"check", "-c", file}}); r.status != 1 || strings.Count(r.stderr, "cannot read") != 2 {
		t.Errorf("missing files: status %d:\n%s", r.status, r.stderr)
	}
}

func TestInitWithHTTPS(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	dir := t.TempDir()
	c := newCertificate(t, "lb.example", valid())
	c.write(t, dir)
	r := run(t, invocation{args: []string{"init", "-url", f.url, "-token", f.token, "-listen", "127.0.0.1:3443", "-tls-cert", "cert.pem", "-tls-key", "key.pem"}, dir: dir})
	if want := "ANTHROPIC_BASE_URL=https://127.0.0.1:3443\n"; r.status != 0 || !strings.Contains(r.stdout, want) {
		t.Errorf("exit status %d, want 0 and %q:\n%s%s", r.status, want, r.stdout, r.stderr)
	}
	if r := run(t, invocation{args: []string{"init", "-c", "other.json", "-url", f.url, "-token", f.token, "-tls-cert", "gone.pem", "-tls-key", "key.pem"}, dir: dir}); r.status != 1 ||
		!strings.Contains(r.stderr, fmt.Sprintf("tls_cert: cannot read %q", "gone.pem")) {
		t.Errorf("exit status %d:\n%s%s", r.status, r.stdout, r.stderr)
	}
}

package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// issued returns a certificate and its key.
func issued(t *testing.T, from, until time.Time) (certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, DNSNames: []string{"lb.example"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encoded("CERTIFICATE", cert), encoded("PRIVATE KEY", private)
}

func encoded(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestTLS(t *testing.T) {
	now := time.Now()
	cert, key := issued(t, now.Add(-time.Hour), now.Add(time.Hour))
	old, oldKey := issued(t, now.AddDate(-2, 0, 0), time.Date(now.Year()-1, 5, 4, 12, 0, 0, 0, time.UTC))
	early, earlyKey := issued(t, now.AddDate(1, 0, 0), now.AddDate(2, 0, 0))
	block, _ := pem.Decode([]byte(cert))
	path := folder(t, map[string]string{
		"cert.pem": cert, "key.pem": key, "both.pem": key + cert, "old.pem": old, "oldkey.pem": oldKey, "early.pem": early, "earlykey.pem": earlyKey,
		"cert.der": string(block.Bytes), "torn.pem": encoded("CERTIFICATE", block.Bytes[:100]), "text.pem": "hello",
		"sealed.pem": encoded("ENCRYPTED PRIVATE KEY", []byte("x")),
	})
	f := func(members, want string, usable bool) {
		t.Helper()
		src := `{` + members + `, "servers": [{"url": "https://a.example", "token": "${T}"}]}`
		cfg, problems := Decode(path, []byte(src), env(map[string]string{"T": "t", "CERT": "nowhere-s3cr3t.pem", "KEY": key}))
		var said []string
		for _, p := range problems {
			said = append(said, strings.TrimPrefix(p.String(), path+":"))
		}
		if text := strings.Join(said, "\n"); text != want {
			t.Errorf("%s\ngot:  %s\nwant: %s", members, text, want)
		}
		if got := cfg.Certificate != nil; got != usable {
			t.Errorf("%s: usable %t, want %t", members, got, usable)
		}
	}
	f(`"tls_cert": "cert.pem", "tls_key": "key.pem"`, "", true)
	f(`"tls_cert": "both.pem", "tls_key": "both.pem"`, "", true)
	f(`"tls_cert": "`+filepath.ToSlash(filepath.Join(filepath.Dir(path), "cert.pem"))+`", "tls_key": "key.pem"`, "", true)
	f(`"tls_cert": "", "tls_key": ""`, "", false)
	f(`"tls_cert": "cert.pem"`, `1:14: tls_cert: error: needs "tls_key", the file with its private key`, false)
	f(`"tls_key": "key.pem"`, `1:13: tls_key: error: needs "tls_cert", the file with its certificate`, false)
	f(`"tls_cert": 1, "tls_key": "key.pem"`, `1:14: tls_cert: error: must be a string, not a number: write "1"`, false)
	f(`"tls_cert": "gone.pem", "tls_key": "key.pem"`,
		`1:14: tls_cert: error: cannot read "gone.pem": no such file or directory (a relative path starts at the folder of this file)`, false)
	f(`"tls_cert": "${CERT}", "tls_key": "key.pem"`,
		`1:14: tls_cert: error: cannot read this value: no such file or directory (a relative path starts at the folder of this file)`, false)
	f(`"tls_cert": "cert.pem", "tls_key": "${KEY}"`,
		`1:37: tls_key: error: the text of a PEM file stands where its name belongs: write it into a file, and name that one`, false)
	f(`"tls_cert": "key.pem", "tls_key": "cert.pem"`,
		`1:14: tls_cert: error: "key.pem" holds a private key and no certificate: that belongs into "tls_key"`+"\n"+
			`1:36: tls_key: error: "cert.pem" holds a certificate and no private key: that belongs into "tls_cert"`, false)
	f(`"tls_cert": "cert.der", "tls_key": "key.pem"`,
		`1:14: tls_cert: error: "cert.der" is in DER: convert it to PEM ("openssl x509" or "openssl pkey", with "-inform der")`, false)
	f(`"tls_cert": "torn.pem", "tls_key": "key.pem"`,
		`1:14: tls_cert: error: "torn.pem" holds a certificate that cannot be read: malformed certificate`, false)
	f(`"tls_cert": "text.pem", "tls_key": "key.pem"`,
		`1:14: tls_cert: error: "text.pem" holds no PEM block that begins with "-----BEGIN CERTIFICATE-----"`, false)
	f(`"tls_cert": "cert.pem", "tls_key": "sealed.pem"`,
		`1:37: tls_key: error: "sealed.pem" is encrypted, and the balancer cannot ask for its passphrase: write it without one ("openssl pkey -in FILE -out NEW")`, false)
	f(`"tls_cert": "cert.pem", "tls_key": "oldkey.pem"`,
		`1:37: tls_key: error: "oldkey.pem" cannot be used with "tls_cert": private key does not match public key`, false)
	f(`"tls_cert": "old.pem", "tls_key": "oldkey.pem"`,
		`1:14: tls_cert: warning: expired on `+time.Date(now.Year()-1, 5, 4, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)+`: clients refuse it until it is renewed`, true)
	f(`"tls_cert": "early.pem", "tls_key": "earlykey.pem"`,
		`1:14: tls_cert: warning: is not valid before `+now.AddDate(1, 0, 0).UTC().Format(time.DateTime)+`: clients refuse it until then`, true)
}

// TestTLSFilesAreWatched checks that a new or renewed certificate changes the configuration.
func TestTLSFilesAreWatched(t *testing.T) {
	path := folder(t, nil)
	cfg, _ := Decode(path, []byte(`{"tls_cert": "a.pem", "tls_key": "b.pem", "servers": [{"url": "http://a.example"}]}`), env(nil))
	dir := filepath.Dir(path)
	if want := []string{filepath.Join(dir, "a.pem"), filepath.Join(dir, "b.pem")}; !slices.Equal(cfg.Files, want) {
		t.Errorf("%q, want %q", cfg.Files, want)
	}
}

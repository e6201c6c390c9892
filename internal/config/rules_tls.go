package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	certificateMark = "CERTIFICATE"
	privateKeyMark  = "PRIVATE KEY" // also part of "RSA PRIVATE KEY" and the like
)

// checkTLS reads the certificate for clients, and its key.
func (d *decoder) checkTLS(cfg *Config) {
	cert, wroteCert := d.wrote("tls_cert")
	key, wroteKey := d.wrote("tls_key")
	wroteCert, wroteKey = wroteCert && cfg.TLSCert != "", wroteKey && cfg.TLSKey != ""
	switch {
	case !wroteCert && !wroteKey:
		return
	case !wroteKey && d.fine("tls_key"):
		d.errorf(cert.offset, "tls_cert", `needs "tls_key", the file with its private key`)
	case !wroteCert && d.fine("tls_cert"):
		d.errorf(key.offset, "tls_key", `needs "tls_cert", the file with its certificate`)
	}
	if !wroteCert || !wroteKey {
		return
	}
	certPEM, readCert := d.readPEM("tls_cert", &cfg.TLSCert, certificateMark)
	keyPEM, readKey := d.readPEM("tls_key", &cfg.TLSKey, privateKeyMark)
	if !readCert || !readKey || !d.checkDates(cert, certPEM) {
		return
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		d.errorf(key.offset, "tls_key", `%s cannot be used with "tls_cert": %s`, key.label(), strings.TrimPrefix(err.Error(), "tls: "))
		return
	}
	cfg.Certificate = &pair
}

// checkDates checks a certificate's validity, and returns whether it is a certificate.
func (d *decoder) checkDates(n node, certPEM []byte) bool {
	leaf, err := x509.ParseCertificate(firstPEM(certPEM, certificateMark).Bytes)
	if err != nil {
		d.errorf(n.offset, "tls_cert", "%s holds a certificate that cannot be read: %s", n.label(), strings.TrimPrefix(err.Error(), "x509: "))
		return false
	}
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		d.warnf(n.offset, "tls_cert", "expired on %s: clients refuse it until it is renewed", leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		d.warnf(n.offset, "tls_cert", "is not valid before %s: clients refuse it until then", leaf.NotBefore.UTC().Format(time.DateTime))
	}
	return true
}

// readPEM reads the file that a field names, if it contains the expected kind of block. The file is
// part of Config.Files, existing or not.
func (d *decoder) readPEM(field string, name *string, mark string) ([]byte, bool) {
	n := d.nodes[field]
	if strings.Contains(*name, "-----BEGIN") {
		*name = "" // as a path it would appear in messages and in the log
		d.errorf(n.offset, field, "the text of a PEM file stands where its name belongs: write it into a file, and name that one")
		return nil, false
	}
	path := *name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(d.src.file), path)
	}
	text, err := readRegular(path)
	if !errors.Is(err, errIrregular) && !slices.Contains(d.files, path) {
		d.files = append(d.files, path)
	}
	if err != nil {
		d.errorf(n.offset, field, "cannot read %s: %v (a relative path starts at the folder of this file)", n.label(), err)
		return nil, false
	}
	if problem := lacksPEM(text, mark); problem != "" {
		d.errorf(n.offset, field, "%s %s", n.label(), problem)
		return nil, false
	}
	return text, true
}

// lacksPEM describes why a file is not a certificate or a key, "" if it is. It never quotes the
// file.
func lacksPEM(text []byte, mark string) string {
	block := firstPEM(text, mark)
	switch {
	case block != nil && (strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != ""):
		return `is encrypted, and the balancer cannot ask for its passphrase: write it without one ("openssl pkey -in FILE -out NEW")`
	case block != nil:
		return ""
	case len(text) > 0 && text[0] == 0x30: // an ASN.1 sequence
		return `is in DER: convert it to PEM ("openssl x509" or "openssl pkey", with "-inform der")`
	case mark == certificateMark && firstPEM(text, privateKeyMark) != nil:
		return `holds a private key and no certificate: that belongs into "tls_key"`
	case mark == privateKeyMark && firstPEM(text, certificateMark) != nil:
		return `holds a certificate and no private key: that belongs into "tls_cert"`
	default:
		return `holds no PEM block that begins with "-----BEGIN ` + mark + `-----"`
	}
}

// firstPEM returns the first block of a kind, nil if there is none.
func firstPEM(text []byte, mark string) *pem.Block {
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil || strings.HasSuffix(block.Type, mark) {
			return block
		}
	}
}

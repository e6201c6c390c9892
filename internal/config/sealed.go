package config

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"filippo.io/age"
	"filippo.io/age/armor"
)

const (
	// sealPrefix begins an encrypted secret: an age file in base64 or in age's armor follows.
	sealPrefix = "age:"
	// ageMagic begins an age file (age-encryption.org/v1).
	ageMagic = "age-encryption.org/"
)

// Seal encrypts a secret for recipients, each of which can decrypt it. It returns the line that
// replaces the secret in a configuration.
func Seal(s Secret, recipients ...age.Recipient) (string, error) {
	var file bytes.Buffer
	w, err := age.Encrypt(&file, recipients...)
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(w, s.Reveal()); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return sealPrefix + base64.StdEncoding.EncodeToString(file.Bytes()), nil
}

// Problems of an encrypted secret. They must not quote it, so they have no details.
var (
	errOtherIdentity = errors.New("encrypted for another identity")
	errPassphrase    = errors.New("encrypted with a passphrase")
	errDamaged       = errors.New("damaged, or no age file")
	errNoText        = errors.New("no text in it")
)

// unseal decrypts the text after sealPrefix, without the line breaks at the end.
func unseal(sealed string, identities []age.Identity) (string, error) {
	file, err := sealedFile(sealed)
	if err != nil {
		return "", errDamaged
	}
	r, err := age.Decrypt(bytes.NewReader(file), identities...)
	if e, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		if slices.Contains(e.StanzaTypes, "scrypt") {
			return "", errPassphrase
		}
		return "", errOtherIdentity
	}
	if err != nil {
		return "", errDamaged
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return "", errDamaged
	}
	text := strings.TrimRight(strings.ReplaceAll(string(b), byteOrderMark, ""), "\r\n")
	if strings.TrimSpace(text) == "" || !utf8.ValidString(text) {
		return "", errNoText
	}
	return text, nil
}

// sealedFile returns the age file in its binary form.
func sealedFile(sealed string) ([]byte, error) {
	sealed = strings.TrimSpace(sealed)
	if strings.HasPrefix(sealed, armor.Header) {
		return io.ReadAll(armor.NewReader(strings.NewReader(sealed)))
	}
	// Copying a line often loses its padding.
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(sealed, "="))
}

// looksSealed reports whether s is an age file that lacks its prefix.
func looksSealed(s string) bool {
	s = strings.TrimSpace(s)
	return strings.HasPrefix(s, armor.Header) || strings.HasPrefix(s, base64.RawStdEncoding.EncodeToString([]byte(ageMagic[:18])))
}

// secret decrypts the text of a secret if it is encrypted, and returns any other text unchanged. It
// records the first plain secret in the file.
func (d *decoder) secret(path string, offset int, s string, plain bool, f field) (text string, ok bool) {
	sealed, encrypted := strings.CutPrefix(s, sealPrefix)
	switch {
	case encrypted:
		return d.unsealed(path, offset, sealed)
	case looksSealed(s):
		d.errorf(offset, path, `is an age file: write "age:" in front of it`)
		return "", false
	}
	harmless := f.shell && !inCommand.MatchString(s) || f.onlyURL && !strings.Contains(s, "://")
	if d.literal.Path == "" && s != "" && plain && !harmless {
		line, col := d.src.position(offset)
		d.literal = Place{Path: path, Line: line, Col: col}
	}
	return s, true
}

// inCommand finds a credential in a shell command. Most commands have none, or take it from a
// variable.
var inCommand = regexp.MustCompile(`(?i)(\bsk-|\bbearer |api[-_]?key[:=] ?|token[:=] ?|password[:=] ?)[^\s$'"]`)

// unsealed decrypts a secret. It reports a problem without quoting the secret.
func (d *decoder) unsealed(path string, offset int, sealed string) (text string, ok bool) {
	vault := d.vault()
	identities, problem := vault.open()
	if !vault.irregular && !slices.Contains(d.files, vault.path) {
		d.files = append(d.files, vault.path)
	}
	if problem != "" {
		d.missing++
		d.errorf(offset, path, "is encrypted, but %s", problem)
		return "", false
	}
	text, err := unseal(sealed, identities)
	switch {
	case err == nil:
		return text, true
	case errors.Is(err, errOtherIdentity):
		d.missing++
		problem = fmt.Sprintf(`is encrypted for another identity than %s holds: encrypt it again with "claude-code-lb secret encrypt", or name the right file in "age_identity"`, vault.label)
	case errors.Is(err, errPassphrase):
		problem = `is encrypted with a passphrase, which the balancer cannot ask for: encrypt it for the identity, with "claude-code-lb secret encrypt"`
	case errors.Is(err, errNoText):
		problem = `is encrypted, and what it holds is empty or not UTF-8 text: encrypt it again with "claude-code-lb secret encrypt"`
	default:
		problem = `is damaged, or no age file in base64: encrypt it again with "claude-code-lb secret encrypt"`
	}
	d.errorf(offset, path, "%s", problem)
	return "", false
}

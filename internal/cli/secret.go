package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"filippo.io/age"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const secretIntro = `claude-code-lb secret keeps secrets encrypted in the configuration file, with age.

Usage:
  claude-code-lb secret new-identity [-c FILE] [-pq]
  claude-code-lb secret encrypt [-c FILE] [-recipient age1…]

new-identity writes the identity file that decrypts the secrets of a configuration,
readable by its owner alone, and prints the recipient that encrypts for it.
encrypt reads a secret from standard input, or asks for it, and prints its encrypted
form for the configuration. There is no command that decrypts.

Flags:
`

const (
	newIdentityIntro = `claude-code-lb secret new-identity writes the identity file of a configuration, readable
by its owner alone, and prints the recipient that encrypts for it. It never overwrites one.

Usage: claude-code-lb secret new-identity [-c FILE] [-pq]

Flags:
`
	encryptIntro = `claude-code-lb secret encrypt reads a secret from standard input, or asks for it without
showing it, and prints its encrypted form for the configuration: "age:…".

Usage:
  claude-code-lb secret encrypt
  claude-code-lb secret encrypt -recipient age1… < token

Flags:
`
)

// maxSecret is the largest secret that encrypt accepts: more is a file given by mistake.
const maxSecret = 64 << 10

// runSecret runs a command of "secret". The flag -c may precede the command as well.
func runSecret(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("secret", secretIntro)
	file := flags.String("c", "", configFlagUsage)
	if status, done := parseLeading(flags, std, args); done {
		return status
	}
	switch flags.Arg(0) {
	case "new-identity":
		return runNewIdentity(std, *file, flags.Args()[1:])
	case "encrypt":
		return runEncrypt(ctx, std, *file, flags.Args()[1:])
	case "":
		fmt.Fprintln(std.Err, "secret: want new-identity or encrypt (see secret -h)")
	default:
		fmt.Fprintf(std.Err, "secret: %q is neither new-identity nor encrypt (see secret -h)\n", flags.Arg(0))
	}
	return service.ExitUsage
}

// runNewIdentity writes an identity file. It does not replace an existing one.
func runNewIdentity(std service.Std, file string, args []string) int {
	flags := newFlags("secret new-identity", newIdentityIntro)
	flags.StringVar(&file, "c", file, configFlagUsage)
	pq := flags.Bool("pq", false, "make a post-quantum identity; encrypted secrets are 2 KB longer")
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	path, ok := identityPath(std, file)
	if !ok {
		return service.ExitError
	}
	identity, recipient, err := newIdentity(*pq)
	if err == nil {
		err = writeNew(path, fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", time.Now().Format(time.RFC3339), recipient, identity.Reveal()))
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		fmt.Fprintf(std.Err, "secret new-identity: %s exists already and was not changed: the secrets encrypted for it would be lost\n", path)
		return service.ExitError
	case err != nil:
		fmt.Fprintln(std.Err, "secret new-identity: cannot write the identity:", err)
		return service.ExitError
	}
	fmt.Fprintf(std.Err, "Wrote %s, readable by you alone. Keep a copy elsewhere: nothing else decrypts secrets for this recipient:\n", path)
	fmt.Fprintln(std.Out, recipient)
	return service.ExitOK
}

// newIdentity generates an X25519 identity, or a hybrid one of ML-KEM-768 and X25519 if pq.
func newIdentity(pq bool) (identity config.Secret, recipient string, err error) {
	if pq {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return config.Secret{}, "", err
		}
		return config.NewSecret(id.String()), id.Recipient().String(), nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return config.Secret{}, "", err
	}
	return config.NewSecret(id.String()), id.Recipient().String(), nil
}

// runEncrypt prints the encrypted form of a secret.
func runEncrypt(ctx context.Context, std service.Std, file string, args []string) int {
	flags := newFlags("secret encrypt", encryptIntro)
	flags.StringVar(&file, "c", file, configFlagUsage)
	var named []string
	flags.Func("recipient", "`RECIPIENT` to encrypt for, age1…; may be repeated (default: the first identity of the configuration)", func(s string) error {
		named = append(named, s)
		return nil
	})
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	recipients, err := parseRecipients(named)
	if err != nil {
		fmt.Fprintln(std.Err, "secret encrypt:", err)
		return service.ExitUsage
	}
	if len(recipients) == 0 {
		own, ok := ownRecipient(std, file)
		if !ok {
			return service.ExitError
		}
		recipients = append(recipients, own)
	}
	secret, err := readSecret(ctx, std)
	if err != nil {
		fmt.Fprintln(std.Err, "secret encrypt:", err)
		return service.ExitError
	}
	sealed, err := config.Seal(secret, recipients...)
	if err != nil {
		fmt.Fprintln(std.Err, "secret encrypt:", err)
		return service.ExitError
	}
	fmt.Fprintln(std.Out, sealed)
	return service.ExitOK
}

// parseRecipients parses the values of -recipient. Its errors do not quote them, because one may be
// an identity.
func parseRecipients(named []string) ([]age.Recipient, error) {
	var recipients []age.Recipient
	for _, s := range named {
		parsed, err := age.ParseRecipients(strings.NewReader(s))
		switch {
		case strings.HasPrefix(strings.ToUpper(s), "AGE-SECRET-KEY-"):
			return nil, errors.New("-recipient is an identity, which must stay secret: its recipient begins with age1")
		case err != nil:
			return nil, errors.New("-recipient is not an age recipient: these begin with age1")
		}
		recipients = append(recipients, parsed...)
	}
	return recipients, nil
}

// identityPath returns the path of a configuration's identity file. The configuration may be
// missing or have errors, except in the field age_identity.
func identityPath(std service.Std, file string) (path string, ok bool) {
	file = service.ConfigPath(std, file)
	src, err := service.ReadBounded(file)
	if errors.Is(err, fs.ErrNotExist) {
		src, err = []byte("{}"), nil
	}
	if err != nil {
		service.ExplainUnreadable(std.Err, file, err)
		return "", false
	}
	cfg, problems := config.Decode(file, src, std.Env)
	for _, p := range problems {
		if !p.Warning && (p.Path == "" || p.Path == "age_identity") {
			fmt.Fprintln(std.Err, p)
			return "", false
		}
	}
	if cfg.IdentityPath == "" {
		fmt.Fprintf(std.Err, "secret: %s contains an identity; set it to the name of the identity file instead\n", config.IdentityVariable)
		return "", false
	}
	return cfg.IdentityPath, true
}

// ownRecipient returns the recipient of the first identity of a configuration.
func ownRecipient(std service.Std, file string) (r age.Recipient, ok bool) {
	path, ok := identityPath(std, file)
	if !ok {
		return nil, false
	}
	identities, err := config.ReadIdentities(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(std.Err, "secret encrypt: there is no identity at %s: \"claude-code-lb secret new-identity\" makes one, or name a recipient with -recipient\n", path)
		return nil, false
	case err != nil:
		fmt.Fprintf(std.Err, "secret encrypt: cannot use %s: %v\n", path, err)
		return nil, false
	}
	switch id := identities[0].(type) {
	case *age.X25519Identity:
		return id.Recipient(), true
	case *age.HybridIdentity:
		return id.Recipient(), true
	}
	fmt.Fprintf(std.Err, "secret encrypt: the recipient of the first identity in %s is unknown: name it with -recipient\n", path)
	return nil, false
}

// readSecret reads a secret, without the line breaks at its end. On a terminal it asks for one on
// standard error, because standard output is for the result.
func readSecret(ctx context.Context, std service.Std) (config.Secret, error) {
	q := newQuestionnaire(ctx, service.Std{In: std.In, Out: std.Err, Env: std.Env}, "")
	if q.terminal != nil {
		return q.askHidden("Secret", func(s string) string {
			if s == "" {
				return "it is empty"
			}
			return ""
		})
	}
	text, err := io.ReadAll(io.LimitReader(std.In, maxSecret+1))
	text = bytes.TrimRight(text, "\r\n")
	switch {
	case err != nil:
		return config.Secret{}, fmt.Errorf("read the secret: %w", err)
	case len(text) > maxSecret:
		return config.Secret{}, fmt.Errorf("the secret on standard input is longer than %d KiB", maxSecret>>10)
	case len(text) == 0:
		return config.Secret{}, errors.New("standard input is empty: write the secret there")
	case !utf8.Valid(text):
		return config.Secret{}, errors.New("the secret on standard input is not UTF-8 text")
	}
	return config.NewSecret(string(text)), nil
}

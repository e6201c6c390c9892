package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const keyIntro = `claude-code-lb key creates, lists, rotates and revokes client keys. It prints a new key once, and below it
the entry with the hash. It adds the entry to the keys_file of the configuration; without a keys_file,
add it to auth_keys yourself. A running balancer applies the change by itself.

Usage: claude-code-lb key new -name NAME [-c FILE] [flags]
       claude-code-lb key list [-c FILE]
       claude-code-lb key rotate NAME [-overlap 24h] [-c FILE]
       claude-code-lb key revoke NAME [-c FILE]

Flags:
`

// keyCommand has the flags of key.
type keyCommand struct {
	file, name     string
	expires        string
	models, ips    string
	rpm, tpm       int
	concurrency    int
	priority       int
	day, week      float64
	month, total   float64
	zone, group    string
	overlap        string
	path, keysFile string // of the configuration and of its keys file
}

func runKey(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("key", keyIntro)
	var k keyCommand
	k.define(flags)
	verb, name, args := splitVerb(args)
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	k.name = cmp.Or(k.name, name)
	k.path = service.ConfigPath(std, k.file)
	var err error
	switch verb {
	case "new":
		err = k.create(std)
	case "list":
		err = k.list(ctx, std)
	case "rotate":
		err = k.rotate(std)
	case "revoke":
		err = k.revoke(std)
	default:
		fmt.Fprintln(std.Err, "key: want new, list, rotate or revoke (see key -h)")
		return service.ExitUsage
	}
	if err != nil {
		return printFailure(std, "key", k.path, err)
	}
	return service.ExitOK
}

// splitVerb takes the verb, and a name right after it, out of a command line. -c FILE may precede
// them: dispatch puts it there.
func splitVerb(args []string) (verb, name string, rest []string) {
	i := 0
	if len(args) > 2 && args[0] == "-c" {
		i = 2
	}
	if i == len(args) || !slices.Contains([]string{"new", "list", "rotate", "revoke"}, args[i]) {
		return "", "", args
	}
	verb, rest = args[i], slices.Delete(slices.Clone(args), i, i+1)
	if i < len(rest) && !strings.HasPrefix(rest[i], "-") {
		name = rest[i]
		rest = slices.Delete(rest, i, i+1)
	}
	return verb, name, rest
}

// define declares the flags.
func (k *keyCommand) define(flags *flag.FlagSet) {
	flags.StringVar(&k.file, "c", "", configFlagUsage)
	flags.StringVar(&k.name, "name", "", "`NAME` of the key, such as its user's")
	flags.StringVar(&k.expires, "expires", "", "last `DAY` on which the key is valid, such as 2026-12-31")
	flags.StringVar(&k.models, "models", "", "`PATTERNS` of allowed models, separated by commas")
	flags.StringVar(&k.ips, "ips", "", "`NETWORKS` from which requests are allowed, separated by commas")
	flags.IntVar(&k.rpm, "rpm", 0, "requests per minute")
	flags.IntVar(&k.tpm, "tpm", 0, "tokens per minute")
	flags.IntVar(&k.concurrency, "concurrency", 0, "requests at the same time")
	flags.IntVar(&k.priority, "priority", 0, "rank among waiting requests; the highest goes first")
	flags.Float64Var(&k.day, "budget-day", 0, "`DOLLARS` per day")
	flags.Float64Var(&k.week, "budget-week", 0, "`DOLLARS` per week")
	flags.Float64Var(&k.month, "budget-month", 0, "`DOLLARS` per month")
	flags.Float64Var(&k.total, "budget-total", 0, "`DOLLARS` in total")
	flags.StringVar(&k.group, "group", "", "`GROUP` of keys that share the files, batches, skills and containers they create")
	flags.StringVar(&k.overlap, "overlap", "24h", "time for which the former key stays valid after key rotate, such as 24h or 7d; 0 ends it at once")
	flags.StringVar(&k.zone, "time-zone", "", "`ZONE` in which days begin, such as Europe/Berlin")
}

// entry returns the entry of the key for a file.
func (k *keyCommand) entry(hash string) ([]byte, error) {
	type budget struct {
		Day   float64 `json:"day,omitempty"`
		Week  float64 `json:"week,omitempty"`
		Month float64 `json:"month,omitempty"`
		Total float64 `json:"total,omitempty"`
		Zone  string  `json:"time_zone,omitempty"`
	}
	entry := struct {
		Name        string   `json:"name"`
		Hash        string   `json:"key_sha256"`
		Expires     string   `json:"expires,omitempty"`
		Models      []string `json:"models,omitempty"`
		IPs         []string `json:"ips,omitempty"`
		RPM         int      `json:"rpm,omitempty"`
		TPM         int      `json:"tpm,omitempty"`
		Concurrency int      `json:"concurrency,omitempty"`
		Budget      *budget  `json:"budget_usd,omitempty"`
		Priority    int      `json:"priority,omitempty"`
		Group       string   `json:"group,omitempty"`
	}{
		k.name, hash, k.expires, splitList(k.models), splitList(k.ips), k.rpm, k.tpm, k.concurrency,
		&budget{k.day, k.week, k.month, k.total, k.zone}, k.priority, k.group,
	}
	if *entry.Budget == (budget{}) {
		entry.Budget = nil
	}
	text, err := json.Marshal(entry)
	if err != nil { // flags accept NaN, JSON does not
		return nil, errors.New("a budget must be a number of dollars")
	}
	return text, nil
}

// splitList splits a list at its commas and drops blank elements.
func splitList(list string) []string {
	return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return strings.TrimSpace(s) == "" })
}

// locate reads the path of the keys file from the configuration. The file may not exist yet.
func (k *keyCommand) locate(std service.Std) error {
	cfg, _, err := service.LoadConfig(std, k.path, service.UnusedByKeys()...)
	if err != nil {
		return service.Unreadable{Err: err}
	}
	if k.keysFile = cfg.KeysFile; k.keysFile != "" && !filepath.IsAbs(k.keysFile) {
		k.keysFile = filepath.Join(filepath.Dir(k.path), k.keysFile)
	}
	return nil
}

// lock prevents other commands from changing the keys until unlock is called. It creates an empty
// keys file if there is none.
func (k *keyCommand) lock(std service.Std) (unlock func(), err error) {
	if err := k.locate(std); err != nil || k.keysFile == "" {
		return func() {}, err
	}
	unlock, err = lockFile(k.keysFile)
	if err != nil {
		return func() {}, err
	}
	if _, err := os.Stat(k.keysFile); errors.Is(err, fs.ErrNotExist) {
		if err := replaceFile(k.keysFile, []byte("[\n]\n")); err != nil {
			unlock()
			return func() {}, err
		}
	}
	return unlock, nil
}

// load reads the configuration with its keys.
func (k *keyCommand) load(std service.Std) (*config.Config, error) {
	cfg, problems, err := service.LoadConfig(std, k.path, service.UnusedByKeys()...)
	if err != nil {
		return nil, service.Unreadable{Err: err}
	}
	if problems.Failed() {
		return nil, service.FaultyConfig(k.path, problems)
	}
	return cfg, nil
}

// keyPrefix identifies client keys of this program, so that secret scanners can find published
// ones.
const keyPrefix = "sk-lb-"

// newSecret generates a client key and its hash.
func newSecret() (secret, hash string) {
	secret = keyPrefix + rand.Text() + rand.Text() // 260 random bits
	sum := sha256.Sum256([]byte(secret))
	return secret, hex.EncodeToString(sum[:])
}

// create makes a key and prints it.
func (k *keyCommand) create(std service.Std) error {
	if k.name == "" {
		return errors.New("-name is missing: name the user of the key")
	}
	cfg := &config.Config{}
	unlock, err := k.lock(std)
	defer unlock()
	e, missing := errors.AsType[service.Unreadable](err)
	switch {
	case missing && errors.Is(e.Err, fs.ErrNotExist) && k.usesDefaultPath(std): // the key may come before the configuration
	case err != nil:
		return err
	default:
		if cfg, err = k.load(std); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(cfg.AuthKeys, func(other config.ClientKey) bool { return other.Name == k.name }) {
		return fmt.Errorf("there is a key named %s already: revoke it first, or choose another name", k.name)
	}
	secret, hash := newSecret()
	entry, err := k.entry(hash)
	if err != nil {
		return err
	}
	if k.keysFile == "" {
		if err := k.validate(std, []byte(`[`+string(entry)+`]`)); err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "The key of %s, which is not stored anywhere, and the entry to add to \"auth_keys\" in %s, with \"auth\": true:\n", k.name, k.path)
		return k.printNew(std, secret, entry)
	}
	err = k.edit(std, func(list *hujson.Array) error {
		list.Elements = append(list.Elements, hujson.Value{BeforeExtra: hujson.Extra("\n  "), Value: mustParse(entry)})
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(std.Err, "The key of %s, which is not stored anywhere, and its entry in %s:\n", k.name, k.keysFile)
	if !cfg.Auth {
		fmt.Fprintf(std.Err, "note: \"auth\" is off in %s: clients need no key\n", k.path)
	}
	return k.printNew(std, secret, entry)
}

// printNew prints a new key with its entry, and how its user connects with it.
func (k *keyCommand) printNew(std service.Std, secret string, entry []byte) error {
	_, err := fmt.Fprintf(std.Out, "%s\n%s\n", secret, entry)
	fmt.Fprintf(std.Err, "%s connects Claude Code with: claude-code-lb connect https://HOST:PORT -key -\n", k.name)
	return err
}

// usesDefaultPath reports whether neither -c nor CONFIG_FILE names the configuration.
func (k *keyCommand) usesDefaultPath(std service.Std) bool {
	name, given := std.Env("CONFIG_FILE")
	return k.file == "" && (!given || name == "")
}

// revoke deletes a key from the keys file.
func (k *keyCommand) revoke(std service.Std) error {
	if k.name == "" {
		return errors.New("-name is missing: name the key to revoke")
	}
	unlock, err := k.lock(std)
	defer unlock()
	if err != nil {
		return err
	}
	_, at, err := k.find(std)
	if err != nil {
		return err
	}
	if at < 0 {
		return fmt.Errorf("the key of %s is in %s, not in a keys file: delete it there", k.name, k.path)
	}
	err = k.edit(std, func(list *hujson.Array) error {
		list.Elements = slices.Delete(list.Elements, at, at+1)
		return nil
	})
	if err == nil {
		fmt.Fprintf(std.Err, "The key of %s is revoked.\n", k.name)
	}
	return err
}

// find returns the key with the name, and its index in the keys file. The index of a key in the
// configuration itself is -1.
func (k *keyCommand) find(std service.Std) (key *config.ClientKey, at int, err error) {
	cfg, err := k.load(std)
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(cfg.AuthKeys, func(other config.ClientKey) bool { return other.Name == k.name })
	if i < 0 {
		return nil, 0, fmt.Errorf("there is no key named %s: claude-code-lb key list shows all names", k.name)
	}
	key = &cfg.AuthKeys[i]
	if k.keysFile == "" || !strings.HasPrefix(key.Place, k.keysFile) {
		return key, -1, nil
	}
	at, err = strconv.Atoi(strings.Trim(strings.TrimPrefix(key.Place, k.keysFile), "[]"))
	return key, at, err
}

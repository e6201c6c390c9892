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

const keyIntro = `claude-code-lb key makes, lists, rotates and revokes client keys. A new key is printed once, and below it
the entry with its hash, which is kept: in the keys_file of the configuration, or by you in
auth_keys where there is none. A running balancer takes the change up by itself.

Usage: claude-code-lb key new -name NAME [-c FILE] [flags]
       claude-code-lb key list [-c FILE]
       claude-code-lb key rotate NAME [-overlap 24h] [-c FILE]
       claude-code-lb key revoke NAME [-c FILE]

Flags:
`

// keyCommand is what the command line asks for.
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
	path, keysFile string // of the configuration, and of its keys
}

func runKey(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("key", keyIntro)
	var k keyCommand
	k.flags(flags)
	what, name, args := splitVerb(args)
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	k.name = cmp.Or(k.name, name)
	k.path = service.ConfigPath(std, k.file)
	var err error
	switch what {
	case "new":
		err = k.create(std)
	case "list":
		err = k.list(ctx, std)
	case "rotate":
		err = k.rotate(std)
	case "revoke":
		err = k.revoke(std)
	default:
		fmt.Fprintln(std.Err, "key: want new, list, rotate or revoke (key -h tells more)")
		return service.ExitUsage
	}
	if err != nil {
		return failed(std, "key", k.path, err)
	}
	return service.ExitOK
}

// splitVerb takes the verb, and a name right behind it, out of a command line. -c may stand before them, where the program puts it.
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

func (k *keyCommand) flags(flags *flag.FlagSet) {
	flags.StringVar(&k.file, "c", "", "configuration `FILE` (default: $CONFIG_FILE, else config.json)")
	flags.StringVar(&k.name, "name", "", "`NAME` of who gets it")
	flags.StringVar(&k.expires, "expires", "", "last `DAY` on which it is valid, such as 2026-12-31")
	flags.StringVar(&k.models, "models", "", "`PATTERNS` for the models that may be asked, separated by commas")
	flags.StringVar(&k.ips, "ips", "", "`NETWORKS` that requests may come from, separated by commas")
	flags.IntVar(&k.rpm, "rpm", 0, "requests per minute")
	flags.IntVar(&k.tpm, "tpm", 0, "tokens per minute")
	flags.IntVar(&k.concurrency, "concurrency", 0, "requests at the same time")
	flags.IntVar(&k.priority, "priority", 0, "who goes first when requests wait: the highest")
	flags.Float64Var(&k.day, "budget-day", 0, "`DOLLARS` per day")
	flags.Float64Var(&k.week, "budget-week", 0, "`DOLLARS` per week")
	flags.Float64Var(&k.month, "budget-month", 0, "`DOLLARS` per month")
	flags.Float64Var(&k.total, "budget-total", 0, "`DOLLARS` in all")
	flags.StringVar(&k.group, "group", "", "`GROUP` of keys that share the files, batches, skills and containers they create")
	flags.StringVar(&k.overlap, "overlap", "24h", "how long the former key stays valid after key rotate, such as 24h or 7d; 0 ends it at once")
	flags.StringVar(&k.zone, "time-zone", "", "`ZONE` in which days begin, such as Europe/Berlin")
}

// entry is the key as it stands in a file.
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
	}{k.name, hash, k.expires, words(k.models), words(k.ips), k.rpm, k.tpm, k.concurrency, &budget{k.day, k.week, k.month, k.total, k.zone}, k.priority, k.group}
	if *entry.Budget == (budget{}) {
		entry.Budget = nil
	}
	text, err := json.Marshal(entry)
	if err != nil { // NaN is a number to flags, but not to JSON
		return nil, errors.New("a budget must be a number of dollars")
	}
	return text, nil
}

func words(list string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(list, func(r rune) bool { return r == ',' }), func(s string) bool { return strings.TrimSpace(s) == "" })
}

// locate reads from the configuration where the keys are. The keys file may not exist yet.
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

// lock keeps other commands from changing the keys until unlock is called. It creates an empty keys
// file if there is none.
func (k *keyCommand) lock(std service.Std) (unlock func(), err error) {
	if err := k.locate(std); err != nil || k.keysFile == "" {
		return func() {}, err
	}
	unlock, err = lockFile(k.keysFile)
	if err != nil {
		return func() {}, err
	}
	if _, err := os.Stat(k.keysFile); errors.Is(err, fs.ErrNotExist) {
		if err := exchange(k.keysFile, []byte("[\n]\n")); err != nil {
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

// keyPrefix marks a key as one of this program's, for those who look for secrets in what is published.
const keyPrefix = "sk-lb-"

// newSecret makes a client key and its hash.
func newSecret() (secret, hash string) {
	secret = keyPrefix + rand.Text() + rand.Text() // 260 random bits
	sum := sha256.Sum256([]byte(secret))
	return secret, hex.EncodeToString(sum[:])
}

func (k *keyCommand) create(std service.Std) error {
	if k.name == "" {
		return errors.New("-name is missing: who is it for?")
	}
	cfg := &config.Config{}
	unlock, err := k.lock(std)
	defer unlock()
	e, missing := errors.AsType[service.Unreadable](err)
	switch {
	case missing && errors.Is(e.Err, fs.ErrNotExist) && k.unnamed(std): // a key can be made before there is a configuration
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
		if err := k.sound(std, []byte(`[`+string(entry)+`]`)); err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "The key of %s, which is kept nowhere, and what to add to \"auth_keys\" in %s, with \"auth\": true:\n", k.name, k.path)
		_, err := fmt.Fprintf(std.Out, "%s\n%s\n", secret, entry)
		return err
	}
	err = k.edit(std, func(list *hujson.Array) error {
		list.Elements = append(list.Elements, hujson.Value{BeforeExtra: hujson.Extra("\n  "), Value: mustParse(entry)})
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(std.Err, "The key of %s, which is kept nowhere, and what was added to %s:\n", k.name, k.keysFile)
	if !cfg.Auth {
		fmt.Fprintf(std.Err, "note: \"auth\" is off in %s: anybody is let in without a key\n", k.path)
	}
	_, err = fmt.Fprintf(std.Out, "%s\n%s\n", secret, entry)
	return err
}

// unnamed says whether nobody has said which configuration to use.
func (k *keyCommand) unnamed(std service.Std) bool {
	name, given := std.Env("CONFIG_FILE")
	return k.file == "" && (!given || name == "")
}

func (k *keyCommand) revoke(std service.Std) error {
	if k.name == "" {
		return errors.New("-name is missing: whose key?")
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
		return fmt.Errorf("the key of %s stands in %s itself: delete it there", k.name, k.path)
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

// find returns the key of a name, and its place in the keys file, -1 for one in the configuration itself.
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

package app

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
	"text/tabwriter"
	"time"

	"github.com/tailscale/hujson"

	"claude-code-lb/internal/config"
)

const keyIntro = `claude-code-lb key makes, lists and revokes client keys. A new key is printed once, and below it
the entry with its hash, which is kept: in the keys_file of the configuration, or by you in
auth_keys where there is none. A running balancer takes the change up by itself.

Usage: claude-code-lb key new -name NAME [-c FILE] [flags]
       claude-code-lb key list [-c FILE]
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
	zone           string
	path, keysFile string // of the configuration, and of its keys
}

func runKey(_ context.Context, std Std, args []string) int {
	flags := newFlags("key", keyIntro)
	var k keyCommand
	k.flags(flags)
	what, name, args := splitVerb(args)
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	k.name = cmp.Or(k.name, name)
	k.path = configPath(std, k.file)
	var err error
	switch what {
	case "new":
		err = k.create(std)
	case "list":
		err = k.list(std)
	case "revoke":
		err = k.revoke(std)
	default:
		fmt.Fprintln(std.Err, "key: want new, list or revoke (key -h tells more)")
		return exitUsage
	}
	if err != nil {
		return failed(std, "key", k.path, err)
	}
	return exitOK
}

// splitVerb takes the verb, and a name right behind it, out of a command line. -c may stand before them, where the program puts it.
func splitVerb(args []string) (verb, name string, rest []string) {
	i := 0
	if len(args) > 2 && args[0] == "-c" {
		i = 2
	}
	if i == len(args) || !slices.Contains([]string{"new", "list", "revoke"}, args[i]) {
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
	}{k.name, hash, k.expires, words(k.models), words(k.ips), k.rpm, k.tpm, k.concurrency, &budget{k.day, k.week, k.month, k.total, k.zone}, k.priority}
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

// load reads the configuration. A keys file that does not exist yet is made one without keys.
func (k *keyCommand) load(std Std) (*config.Config, error) {
	cfg, problems, err := loadConfigWithout(std, k.path, forKeys()...)
	if err != nil {
		return nil, unreadable{err}
	}
	if cfg.KeysFile != "" {
		k.keysFile = cfg.KeysFile
		if !filepath.IsAbs(k.keysFile) {
			k.keysFile = filepath.Join(filepath.Dir(k.path), k.keysFile)
		}
		if _, err := os.Stat(k.keysFile); errors.Is(err, fs.ErrNotExist) {
			if err := os.WriteFile(k.keysFile, []byte("[\n]\n"), 0o600); err != nil {
				return nil, err
			}
			cfg, problems, err = loadConfigWithout(std, k.path, forKeys()...)
			if err != nil {
				return nil, unreadable{err}
			}
		}
	}
	if problems.Failed() {
		return nil, fmt.Errorf("%s has errors: claude-code-lb check tells them", k.path)
	}
	return cfg, nil
}

// keyPrefix marks a key as one of this program's, for those who look for secrets in what is published.
const keyPrefix = "sk-lb-"

func (k *keyCommand) create(std Std) error {
	if k.name == "" {
		return errors.New("-name is missing: who is it for?")
	}
	cfg, err := k.load(std)
	if e, ok := errors.AsType[unreadable](err); ok && errors.Is(e.error, fs.ErrNotExist) && k.unnamed(std) {
		cfg, err = &config.Config{}, nil // a key can be made before there is a configuration
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(cfg.AuthKeys, func(other config.ClientKey) bool { return other.Name == k.name }) {
		return fmt.Errorf("there is a key named %s already: revoke it first, or choose another name", k.name)
	}
	secret := keyPrefix + rand.Text() + rand.Text() // 260 random bits
	sum := sha256.Sum256([]byte(secret))
	entry, err := k.entry(hex.EncodeToString(sum[:]))
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
func (k *keyCommand) unnamed(std Std) bool {
	name, given := std.Env("CONFIG_FILE")
	return k.file == "" && (!given || name == "")
}

func (k *keyCommand) revoke(std Std) error {
	if k.name == "" {
		return errors.New("-name is missing: whose key?")
	}
	cfg, err := k.load(std)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(cfg.AuthKeys, func(other config.ClientKey) bool { return other.Name == k.name })
	switch {
	case i < 0:
		return fmt.Errorf("there is no key named %s: claude-code-lb key list shows them", k.name)
	case k.keysFile == "" || !strings.HasPrefix(cfg.AuthKeys[i].Place, k.keysFile):
		return fmt.Errorf("the key of %s stands in %s as %s: delete it there", k.name, k.path, cfg.AuthKeys[i].Place)
	}
	at, err := strconv.Atoi(strings.Trim(strings.TrimPrefix(cfg.AuthKeys[i].Place, k.keysFile), "[]"))
	if err != nil {
		return err
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

// list shows who has keys and what they may do, never the keys.
func (k *keyCommand) list(std Std) error {
	cfg, err := k.load(std)
	if err != nil {
		return err
	}
	if len(cfg.AuthKeys) == 0 {
		_, err := fmt.Fprintln(std.Out, "no client keys")
		return err
	}
	out := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
	p := printer{to: out}
	p.printf("name\tvalid\trpm\ttpm\tconcurrency\tbudget $\tmodels\tfrom\n")
	for i := range cfg.AuthKeys {
		key := &cfg.AuthKeys[i]
		p.printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(key.Name), validity(key, time.Now()), limit(key.RPM), limit(key.TPM), limit(key.Concurrency),
			budgetOf(key.Budget), all(key.Models), all(key.IPs))
	}
	if p.err != nil {
		return p.err
	}
	return out.Flush()
}

func validity(k *config.ClientKey, now time.Time) string {
	switch end := k.Expiry(); {
	case end.IsZero():
		return "always"
	case !now.Before(end):
		return "EXPIRED " + k.Expires
	default:
		return "to " + k.Expires
	}
}

func limit(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func all(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return printable(strings.Join(list, ","))
}

func budgetOf(b config.Budget) string {
	var parts []string
	for _, each := range []struct {
		amount float64
		per    string
	}{{b.Day, "/day"}, {b.Week, "/week"}, {b.Month, "/month"}, {b.Total, " in all"}} {
		if each.amount > 0 {
			parts = append(parts, number(each.amount)+each.per)
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, " ")
}

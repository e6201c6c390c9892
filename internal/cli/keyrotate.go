package cli

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/hujson"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// maxOverlap limits the effect of a typing error in -overlap.
const maxOverlap = 366 * 24 * time.Hour

// formerKey is the entry of a former secret in a file.
type formerKey struct {
	Hash  string `json:"key_sha256"`
	Until string `json:"until"`
}

// rotate gives a key a new secret. Its name, limits and history stay, and the former secret stays
// valid for the overlap.
func (k *keyCommand) rotate(std service.Std) error {
	if k.name == "" {
		return errors.New("-name is missing: name the key to rotate")
	}
	overlap, err := parseSpan(k.overlap)
	if err != nil || overlap > maxOverlap {
		return fmt.Errorf("-overlap %s: want a duration up to a year, such as 24h or 7d", k.overlap)
	}
	unlock, err := k.lock(std)
	defer unlock()
	if err != nil {
		return err
	}
	key, at, err := k.find(std)
	if err != nil {
		return err
	}
	now := time.Now()
	secret, hash := newSecret()
	previous := formerKeys(key, overlap, now)
	if at < 0 {
		entry, err := json.Marshal(struct {
			Name     string      `json:"name"`
			Hash     string      `json:"key_sha256"`
			Previous []formerKey `json:"previous,omitempty"`
		}{key.Name, hash, previous})
		if err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "The new key of %s, which is not stored anywhere, and the fields that replace \"key\" or \"key_sha256\" in its entry %s in %s. %s\n", key.Name, key.Place, k.path, overlapText(overlap, now))
		_, err = fmt.Fprintf(std.Out, "%s\n%s\n", secret, entry)
		return err
	}
	var entry string
	err = k.edit(std, func(list *hujson.Array) error {
		object, ok := list.Elements[at].Value.(*hujson.Object)
		if !ok {
			return errors.New("the entry is not an object")
		}
		if err := replaceSecret(object, hash, previous); err != nil {
			return err
		}
		shown := list.Elements[at].Clone()
		shown.Minimize()
		entry = string(shown.Pack())
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(std.Err, "The new key of %s, which is not stored anywhere, and its entry in %s. %s\n", k.name, k.keysFile, overlapText(overlap, now))
	_, err = fmt.Fprintf(std.Out, "%s\n%s\n", secret, entry)
	return err
}

func overlapText(overlap time.Duration, now time.Time) string {
	if overlap == 0 {
		return "The former key is refused from now on."
	}
	return "The former key works until " + now.Add(overlap).UTC().Format(time.RFC3339) + "; until then the log reports its use."
}

// formerKeys returns the secrets that stay valid beside a new one: the current one for the overlap,
// and earlier ones until their own ends.
func formerKeys(key *config.ClientKey, overlap time.Duration, now time.Time) []formerKey {
	var list []formerKey
	if overlap > 0 {
		hash := key.Hash()
		list = append(list, formerKey{hex.EncodeToString(hash[:]), now.Add(overlap).UTC().Format(time.RFC3339)})
	}
	for _, p := range key.Previous {
		if now.Before(p.End()) {
			list = append(list, formerKey{p.KeySHA256, p.Until})
		}
	}
	return list
}

// replaceSecret changes the secret in the entry of a key, and nothing else.
func replaceSecret(entry *hujson.Object, hash string, previous []formerKey) error {
	kept := entry.Members[:0]
	for _, m := range entry.Members {
		switch m.Name.Value.(hujson.Literal).String() {
		case "key", "key_sha256", "previous":
		default:
			kept = append(kept, m)
		}
	}
	entry.Members = kept
	add := func(name string, value any) error {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		m := hujson.ObjectMember{
			Name:  hujson.Value{BeforeExtra: hujson.Extra(" "), Value: hujson.String(name)},
			Value: hujson.Value{BeforeExtra: hujson.Extra(" "), Value: mustParse(text)},
		}
		entry.Members = append(entry.Members, m)
		return nil
	}
	if err := add("key_sha256", hash); err != nil || len(previous) == 0 {
		return err
	}
	return add("previous", previous)
}

// parseSpan parses a duration. Unlike time.ParseDuration it accepts days.
func parseSpan(s string) (time.Duration, error) {
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < 0 || n > 1e5 {
			return 0, errors.New("not a number of days")
		}
		return time.Duration(n * 24 * float64(time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errors.New("negative")
	}
	return d, err
}

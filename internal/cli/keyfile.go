package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tailscale/hujson"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// mustParse makes a value of an entry of our own.
func mustParse(entry []byte) hujson.ValueTrimmed {
	v, err := hujson.Parse(entry)
	if err != nil {
		panic("app: an entry of our own: " + err.Error())
	}
	return v.Value
}

// sound says what would be wrong with a list of keys, in the words of the configuration.
func (k *keyCommand) sound(std service.Std, list []byte) error {
	trial, err := os.MkdirTemp("", "claude-code-lb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(trial)
	if err := os.WriteFile(filepath.Join(trial, "keys.json"), list, 0o600); err != nil {
		return err
	}
	_, problems := config.Decode(filepath.Join(trial, "c"), []byte(`{"servers":[{"url":"https://a.example"}],"auth":true,"keys_file":"keys.json"}`), std.Env)
	for _, p := range problems {
		if !p.Warning {
			return fmt.Errorf("%s: %s", strings.TrimLeft(p.Path, "[0123456789]."), p.Msg)
		}
	}
	return nil
}

// editTries is how often an edit is made anew because somebody else has changed the file meanwhile.
const editTries = 5

// edit changes the list in the keys file, comments and all the rest left as they are, in one step.
func (k *keyCommand) edit(std service.Std, change func(*hujson.Array) error) error {
	file, err := filepath.EvalSymlinks(k.keysFile) // a link stays one
	if err != nil {
		return err
	}
	for range editTries {
		before, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		after, err := revised(before, change)
		if err != nil {
			return fmt.Errorf("%s: %w", k.keysFile, err)
		}
		if err := k.sound(std, after); err != nil {
			return err
		}
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, before) {
			continue
		}
		return exchange(file, after)
	}
	return fmt.Errorf("%s is being changed all the time: try again", k.keysFile)
}

// revised is the text of a list after a change.
func revised(text []byte, change func(*hujson.Array) error) ([]byte, error) {
	v, err := hujson.Parse(bytes.TrimPrefix(text, []byte("\ufeff")))
	if err != nil {
		return nil, err
	}
	list, ok := v.Value.(*hujson.Array)
	if !ok {
		return nil, errors.New("it is not a list")
	}
	if err := change(list); err != nil {
		return nil, err
	}
	if len(list.AfterExtra) == 0 {
		list.AfterExtra = hujson.Extra("\n")
	}
	return v.Pack(), nil
}

// exchange gives a file new content in one step. Its mode stays.
func exchange(file string, content []byte) error {
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

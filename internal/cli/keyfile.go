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

// mustParse parses JSON that this program has written.
func mustParse(entry []byte) hujson.ValueTrimmed {
	v, err := hujson.Parse(entry)
	if err != nil {
		panic("cli: parse an entry of a key: " + err.Error())
	}
	return v.Value
}

// validate returns the first error that a configuration with a list of keys would have.
func (k *keyCommand) validate(std service.Std, list []byte) error {
	dir, err := os.MkdirTemp("", "claude-code-lb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), list, 0o600); err != nil {
		return err
	}
	const text = `{"servers":[{"url":"https://a.example"}],"auth":true,"keys_file":"keys.json"}`
	_, problems := config.Decode(filepath.Join(dir, "c"), []byte(text), std.Env)
	for _, p := range problems {
		if !p.Warning {
			return fmt.Errorf("%s: %s", strings.TrimLeft(p.Path, "[0123456789]."), p.Msg)
		}
	}
	return nil
}

// editTries limits how often an edit is repeated because another program has changed the file
// meanwhile.
const editTries = 5

// edit changes the list in the keys file in one step. It preserves comments and everything else.
func (k *keyCommand) edit(std service.Std, change func(*hujson.Array) error) error {
	file, err := filepath.EvalSymlinks(k.keysFile) // keeps a symbolic link in place
	if err != nil {
		return err
	}
	for range editTries {
		before, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		after, err := revise(before, change)
		if err != nil {
			return fmt.Errorf("%s: %w", k.keysFile, err)
		}
		if err := k.validate(std, after); err != nil {
			return err
		}
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, before) {
			continue
		}
		return replaceFile(file, after)
	}
	return fmt.Errorf("another program keeps changing %s: try again", k.keysFile)
}

// revise returns the text of a list after a change.
func revise(text []byte, change func(*hujson.Array) error) ([]byte, error) {
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

// replaceFile replaces the content of a file in one step, and keeps its mode.
func replaceFile(file string, content []byte) error {
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

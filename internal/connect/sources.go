package connect

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// Place is where a setting can be set.
type Place string

// The places, from the one that wins to the one that loses.
const (
	Managed Place = "managed"
	Local   Place = "local"
	Project Place = "project"
	User    Place = "user"
	Editor  Place = "VS Code"
	Shell   Place = "shell"
)

// Source is one place with the settings in it.
type Source struct {
	Place    Place
	File     string // "" for the shell
	Document *Document
	Err      error // why Claude Code ignores the file
	mode     fs.FileMode
	env      func(name string) (string, bool)
}

// Variable returns a variable of the environment that the source sets.
func (s *Source) Variable(name string) (value string, ok bool) {
	if s.env != nil {
		return s.env(name)
	}
	if s.Document == nil {
		return "", false
	}
	return s.Document.String("env", name)
}

// Sources reads all places in which settings can be, the one that wins first.
func (m Machine) Sources() ([]*Source, error) {
	paths, err := m.Paths()
	if err != nil {
		return nil, err
	}
	var all []*Source
	add := func(place Place, file string) {
		if s := readSource(place, file); s != nil {
			all = append(all, s)
		}
	}
	add(Managed, paths.Remote)
	dropIns, _ := filepath.Glob(filepath.Join(paths.Managed, "managed-settings.d", "*.json")) // its only error is a bad pattern
	for _, file := range slices.Backward(dropIns) {
		add(Managed, file)
	}
	add(Managed, filepath.Join(paths.Managed, "managed-settings.json"))
	add(Local, paths.Local)
	if paths.Project != paths.User { // in the home directory they are one file
		add(Project, paths.Project)
	}
	add(User, paths.User)
	for _, file := range paths.VSCode {
		add(Editor, file)
	}
	return append(all, &Source{Place: Shell, env: m.Env}), nil
}

// readSource reads a file with settings. It returns nil if there is no such file.
func readSource(place Place, file string) *Source {
	s := &Source{Place: place, File: file}
	var text []byte
	text, s.mode, s.Err = ReadSettings(file)
	switch {
	case errors.Is(s.Err, fs.ErrNotExist):
		return nil
	case s.Err != nil:
		return s
	case place == Editor:
		if s.Document, s.Err = ParseVSCode(file, text); s.Err == nil {
			s.env = s.Document.editorVariable
		}
	default:
		s.Document, s.Err = Parse(file, text)
	}
	return s
}

// ReadSettings reads a regular file of a size that settings can have.
func ReadSettings(file string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "read", Path: file, Err: errors.New("it is not a regular file")}
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	return text, info.Mode().Perm(), err
}

// editorVariable returns a variable that VS Code sets for Claude Code: an element of a list with a
// name and a value.
func (d *Document) editorVariable(name string) (value string, ok bool) {
	list, err := d.find([]string{vscodeVariables})
	if list == nil || err != nil {
		return "", false
	}
	array, ok := list.Value.(*hujson.Array)
	if !ok {
		return "", false
	}
	value, ok = "", false
	for _, e := range array.Elements {
		object, isObject := e.Value.(*hujson.Object)
		if !isObject {
			continue
		}
		member := func(of string) string {
			if i, err := d.member(object, of); i >= 0 && err == nil {
				if literal, ok := object.Members[i].Value.Value.(hujson.Literal); ok {
					return literal.String()
				}
			}
			return ""
		}
		if member("name") == name {
			value, ok = member("value"), true
		}
	}
	return value, ok
}

// cloudSwitches are variables that send requests to a cloud provider instead of the base URL.
func cloudSwitches() []string {
	return []string{"CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY", "CLAUDE_CODE_USE_MANTLE", "CLAUDE_CODE_USE_ANTHROPIC_AWS", "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD"}
}

// Conflicts lists the variables that decide where Claude Code sends its requests and with which
// credential.
func Conflicts() []string {
	return append([]string{BaseURL, AuthToken, APIKey, OAuthToken, "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST"}, cloudSwitches()...)
}

// isOn reports whether a switch is on, as Claude Code reads it.
func isOn(value string) bool {
	return slices.Contains([]string{"1", "true", "yes", "on"}, strings.ToLower(strings.TrimSpace(value)))
}

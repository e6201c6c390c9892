package connect

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// Names of the settings that decide where Claude Code sends its requests, and with which credential.
const (
	BaseURL     = "ANTHROPIC_BASE_URL"
	AuthToken   = "ANTHROPIC_AUTH_TOKEN"
	APIKey      = "ANTHROPIC_API_KEY"
	OAuthToken  = "CLAUDE_CODE_OAUTH_TOKEN"
	KeyHelper   = "apiKeyHelper"
	StatusLine  = "statusLine"
	LoginPrompt = "claudeCode.disableLoginPrompt"

	vscodeVariables = "claudeCode.environmentVariables"
	settingsName    = "settings.json"
	configDirectory = "CLAUDE_CONFIG_DIR"
)

// Machine is what the places of settings depend on.
type Machine struct {
	OS        string // as runtime.GOOS
	Directory string // in which Claude Code would run
	Env       func(string) (string, bool)
}

// Paths are the files with settings that concern Claude Code in one directory.
type Paths struct {
	Local, Project, User string
	Remote               string // settings of the organization's server, as Claude Code keeps them
	Managed              string // directory of the settings that an administrator manages
	VSCode               []string
}

// Paths returns the files, which may not exist.
func (m Machine) Paths() (Paths, error) {
	home, err := m.home()
	if err != nil {
		return Paths{}, err
	}
	dir := m.join(home, ".claude")
	if given, ok := m.Env(configDirectory); ok {
		if given == "" {
			return Paths{}, errors.New(configDirectory + " is set and empty, which Claude Code does not understand: unset it, or set it to a directory")
		}
		dir = given
		if !m.isAbsolute(dir) {
			dir = m.join(m.Directory, dir)
		}
	}
	return Paths{
		Local:   m.local(),
		Project: m.join(m.Directory, ".claude", settingsName),
		User:    m.join(dir, settingsName),
		Remote:  m.join(dir, "remote-settings.json"),
		Managed: m.managed(),
		VSCode:  m.vscode(home),
	}, nil
}

// home returns the home directory. Like Claude Code, it takes %USERPROFILE% on Windows, which is
// not the home directory of a Linux system in WSL.
func (m Machine) home() (string, error) {
	variable := "HOME"
	if m.OS == "windows" {
		variable = "USERPROFILE"
	}
	home, ok := m.Env(variable)
	if !ok || home == "" {
		return "", errors.New("the variable " + variable + " is not set: it names the directory with the settings of Claude Code")
	}
	return home, nil
}

// local returns the file with the settings of one user for one project. Claude Code takes that of
// the root of the repository if it exists, otherwise that of the working directory.
func (m Machine) local() string {
	here := m.join(m.Directory, ".claude", "settings.local.json")
	root, ok := RepositoryRoot(m.Directory)
	if !ok || root == m.Directory {
		return here
	}
	top := m.join(root, ".claude", "settings.local.json")
	if !exists(top) && exists(here) {
		return here
	}
	return top
}

// RepositoryRoot returns the root of the Git repository with a directory.
func RepositoryRoot(dir string) (root string, ok bool) {
	for {
		if exists(filepath.Join(dir, ".git")) {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// managed returns the directory with managed-settings.json and managed-settings.d.
func (m Machine) managed() string {
	switch m.OS {
	case "darwin":
		return "/Library/Application Support/ClaudeCode"
	case "windows":
		programs, ok := m.Env("ProgramFiles")
		if !ok || programs == "" {
			programs = `C:\Program Files`
		}
		return m.join(programs, "ClaudeCode")
	default:
		return "/etc/claude-code"
	}
}

// vscode returns the files with the user's settings of VS Code and of editors built from it.
func (m Machine) vscode(home string) []string {
	root := m.join(home, ".config")
	switch m.OS {
	case "darwin":
		root = m.join(home, "Library", "Application Support")
	case "windows":
		root = m.join(home, "AppData", "Roaming")
		if given, ok := m.Env("APPDATA"); ok && given != "" {
			root = given
		}
	default:
		if given, ok := m.Env("XDG_CONFIG_HOME"); ok && given != "" {
			root = given
		}
	}
	var files []string
	for _, editor := range [...]string{"Code", "Code - Insiders", "VSCodium", "Cursor"} {
		files = append(files, m.join(root, editor, "User", settingsName))
	}
	return append(files, m.join(home, ".vscode-server", "data", "Machine", settingsName))
}

// StateFile returns the file in which this program remembers what it has changed.
func (m Machine) StateFile() (string, error) {
	for _, place := range [...]struct{ variable, below string }{{"XDG_STATE_HOME", ""}, {"HOME", ".local/state"}, {"LOCALAPPDATA", ""}} {
		if m.OS == "windows" && place.variable != "LOCALAPPDATA" {
			continue
		}
		if root, ok := m.Env(place.variable); ok && m.isAbsolute(root) {
			return m.join(root, filepath.FromSlash(place.below), "claude-code-lb", "connect.json"), nil
		}
	}
	return "", errors.New("no directory for the state of claude-code-lb is known: set XDG_STATE_HOME or HOME, on Windows LOCALAPPDATA")
}

// join joins the parts of a path as the operating system does.
func (m Machine) join(parts ...string) string {
	if m.OS != "windows" {
		return filepath.Join(parts...)
	}
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, strings.TrimRight(p, `\/`))
		}
	}
	return strings.Join(kept, `\`)
}

// isAbsolute reports whether a path does not depend on the working directory.
func (m Machine) isAbsolute(path string) bool {
	if m.OS != "windows" {
		return filepath.IsAbs(path)
	}
	return strings.HasPrefix(path, `\\`) || len(path) > 2 && path[1] == ':' && (path[2] == '\\' || path[2] == '/')
}

package connect

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Row is one setting in one place, as a table shows it.
type Row struct {
	Setting, Value string
	Place          Place
	File           string
	Wins           bool
	Why            string
}

// Effect is what Claude Code does with its settings.
type Effect struct {
	Rows  []Row
	URL   string // where requests go, "" for api.anthropic.com
	From  *Source
	Token string // the value of ANTHROPIC_AUTH_TOKEN or ANTHROPIC_API_KEY that is sent, "" for none
	Notes []string
}

// Resolve finds out which of several settings Claude Code uses, and why.
func Resolve(sources []*Source) *Effect {
	e := &Effect{}
	var from *Source
	e.URL, e.From = e.variable(sources, BaseURL, true)
	token, _ := e.variable(sources, AuthToken, false)
	key, keyFrom := e.variable(sources, APIKey, false)
	e.Token = cmp.Or(token, key)
	if token != "" && key != "" {
		e.note("ANTHROPIC_AUTH_TOKEN and %s (%s) are both set: Claude Code sends both, and the balancer accepts either.", APIKey, keyFrom.label())
	}
	e.variable(sources, OAuthToken, false)
	for _, name := range cloudSwitches() {
		var value string
		if value, from = e.variable(sources, name, true); isOn(value) {
			e.note("%s is set (%s): Claude Code sends requests to that provider and does not use %s. Remove it.", name, from.label(), BaseURL)
		}
	}
	e.member(sources, KeyHelper)
	e.member(sources, StatusLine)
	e.remarks(sources)
	return e
}

// variable adds the rows of a variable, and returns the value that wins.
func (e *Effect) variable(sources []*Source, name string, show bool) (value string, from *Source) {
	for _, s := range sources {
		v, ok := s.Variable(name)
		if !ok {
			continue
		}
		row := Row{Setting: name, Value: shown(v, show), Place: s.Place, File: s.File}
		switch {
		case from != nil:
			row.Why = "overridden: " + overrides(from.Place, s.Place)
		case s.Place == Editor:
			row.Why = "only in VS Code"
		default:
			from, value = s, v
			row.Wins, row.Why = true, winsBecause(s.Place)
		}
		e.Rows = append(e.Rows, row)
	}
	return value, from
}

// member adds the rows of a setting that is not a variable.
func (e *Effect) member(sources []*Source, name string) {
	found := Place("")
	for _, s := range sources {
		if s.Document == nil || s.Place == Editor {
			continue
		}
		if _, ok, err := s.Document.Raw(name); !ok || err != nil {
			continue
		}
		row := Row{Setting: name, Value: "set", Place: s.Place, File: s.File}
		if found == "" {
			found, row.Wins, row.Why = s.Place, true, winsBecause(s.Place)
		} else {
			row.Why = "overridden: " + overrides(found, s.Place)
		}
		e.Rows = append(e.Rows, row)
	}
}

// shown returns a value as a table shows it.
func shown(value string, show bool) string {
	switch {
	case value == "":
		return "(empty)"
	case show:
		return ShowURL(value)
	}
	return "set"
}

func winsBecause(p Place) string {
	switch p {
	case Managed:
		return "used: managed settings override everything"
	case Local:
		return "used: local settings override those of the project and the user"
	case Project:
		return "used: project settings override those of the user"
	case User:
		return "used: settings files override the shell"
	}
	return "used: no settings file has it"
}

func overrides(winner, loser Place) string {
	if loser == Shell || loser == Editor {
		return fmt.Sprintf("%s settings override the environment", winner)
	}
	if winner == loser {
		return "another file of the same kind comes first"
	}
	return fmt.Sprintf("%s settings come first", winner)
}

// label names a source in a sentence.
func (s *Source) label() string {
	if s.File == "" {
		return string(s.Place)
	}
	return s.File
}

func (e *Effect) note(format string, args ...any) {
	e.Notes = append(e.Notes, fmt.Sprintf(format, args...))
}

// remarks adds notes about settings that surprise.
func (e *Effect) remarks(sources []*Source) {
	for _, s := range sources {
		switch {
		case s.Err != nil:
			e.note("Claude Code ignores this file: %v", s.Err)
			continue
		case s.Place == Project && hasAny(s, AuthToken, APIKey):
			e.note("%s has a token, and this file is usually committed: move it to the user's settings.", s.File)
		case s.File != "" && s.mode&0o077 != 0 && s.mode != 0 && s.Place != Managed && hasAny(s, AuthToken, APIKey) && !onWindows(s.File):
			e.note("%s has a token, and others on this machine can read the file: chmod 600 it.", s.File)
		}
		if s.Document != nil && s.Place == Managed {
			for _, name := range []string{"forceLoginMethod", "forceLoginOrgUUID"} {
				if _, ok, _ := s.Document.Raw(name); ok {
					e.note("%s sets %s: Claude Code demands a login and may refuse a token.", s.File, name)
				}
			}
		}
	}
	if value, from := winner(sources, "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST"); isOn(value) {
		e.note("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST is set (%s): Claude Code ignores the base URL of settings files.", from.label())
	}
	e.remarkOnURL(sources)
	e.remarkOnEditor(sources)
}

// remarkOnURL adds notes about the base URL.
func (e *Effect) remarkOnURL(sources []*Source) {
	u, err := url.Parse(e.URL)
	if e.URL == "" || err != nil {
		return
	}
	if path := strings.TrimRight(u.Path, "/"); strings.HasSuffix(path, "/v1") || strings.HasSuffix(path, "/v1/messages") {
		e.note("%s ends in %s: Claude Code adds /v1 to it.", BaseURL, path)
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		proxy, from := winner(sources, name)
		upper, _ := winner(sources, "NO_PROXY")
		lower, _ := winner(sources, "no_proxy")
		if proxy != "" && isLoopback(u.Hostname()) && !excludes(upper+","+lower, u.Hostname()) {
			e.note("%s is set (%s) and NO_PROXY does not have %s: Claude Code may send requests for the balancer to that proxy. Add it to NO_PROXY.", name, from.label(), u.Hostname())
			return
		}
	}
}

// remarkOnEditor adds a note if VS Code would ask for a login although a token is set.
func (e *Effect) remarkOnEditor(sources []*Source) {
	if e.Token == "" || e.URL == "" {
		return
	}
	for _, s := range sources {
		if s.Place != Editor || s.Document == nil {
			continue
		}
		if value, _ := s.Document.String(LoginPrompt); value != "true" && !hasAny(s, AuthToken, APIKey) {
			e.note("%s does not set %s: the extension may ask for a login (connect -vscode sets it).", s.File, LoginPrompt)
		}
	}
}

// winner returns the value of a variable that Claude Code uses.
func winner(sources []*Source, name string) (value string, from *Source) {
	return (&Effect{}).variable(sources, name, false)
}

func hasAny(s *Source, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		value, ok := s.Variable(name)
		return ok && value != ""
	})
}

func onWindows(file string) bool { return strings.Contains(file, `\`) }

func isLoopback(host string) bool {
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
}

// excludes reports whether a list of hosts for which no proxy is used has a host.
func excludes(list, host string) bool {
	for entry := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if entry == "*" || strings.EqualFold(strings.Trim(entry, "[]"), host) {
			return true
		}
	}
	return false
}

package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// controlInPath describes the problem of a file name with a control character, "" if it has none.
// In JSON the backslashes of a Windows path are easily read as escapes.
func controlInPath(s string) string {
	i := strings.IndexFunc(s, unicode.IsControl)
	if i < 0 {
		return ""
	}
	r := []rune(s[i:])[0]
	if letter, ok := map[rune]string{'\t': "t", '\n': "n", '\r': "r", '\b': "b", '\f': "f"}[r]; ok {
		return fmt.Sprintf(`holds a control character, because "\%s" in JSON is an escape: write "\\%s", with each backslash twice`, letter, letter)
	}
	return fmt.Sprintf("holds the control character U+%04X, which no path has: write each backslash of a path twice", r)
}

// pathText reports a text that cannot be the name of a file or directory.
func (d *decoder) pathText(path string, offset int, s string) bool {
	if strings.Contains(s, "://") || strings.Contains(s, "-----BEGIN") { // a database's URL; the content of a file has a separate message
		return true
	}
	if problem := controlInPath(s); problem != "" {
		d.errorf(offset, path, "%s", problem)
		return false
	}
	return true
}

// withoutBraces finds references to variables as other programs write them: $NAME, %NAME%,
// $env:NAME, {NAME}.
var withoutBraces = regexp.MustCompile(`^(\$[A-Za-z_][A-Za-z0-9_]*|%[A-Za-z_][A-Za-z0-9_]*%|\$(?i:env):[A-Za-z_][A-Za-z0-9_]*|\$?\([^()]*\)|\$?\{\{?[^{}]*\}?\})$`)

// inURL finds $NAME as a part of a URL.
var inURL = regexp.MustCompile(`[/:@=]\$[A-Za-z_][A-Za-z0-9_]*`)

// warnOfForgottenBraces warns about a secret in the file that looks like the name of a variable.
// The message does not quote it, because it may be a secret.
func (d *decoder) warnOfForgottenBraces(path string, offset int, s string, f field) {
	if f.shell { // the shell expands it
		return
	}
	if withoutBraces.MatchString(strings.TrimSpace(s)) || strings.Contains(s, "://") && inURL.MatchString(s) {
		d.warnf(offset, path, `looks like a variable, but is used literally: write ${NAME} to expand it`)
	}
}

// suspect treats an unknown field as a misspelled one. The field that was meant counts as written
// with an error, so that it causes no further problem.
func (d *decoder) suspect(path string, offset int) {
	if _, written := d.nodes[path]; !written {
		d.nodes[path] = node{offset: offset}
	}
}

package config

import (
	"strings"
	"unicode"
)

// byteOrderMark begins text that some editors and shells write. No credential contains one.
const byteOrderMark = "\ufeff"

// credential returns the text of a secret without byte order marks, about which it warns. It
// returns false, after an error, for a reference that expands to nothing: an emptied variable or
// file must not turn a configured credential into a missing one, because a server without a token
// gets the client's credential.
func (d *decoder) credential(path string, offset int, s string, plain bool, f field) (text string, ok bool) {
	text = strings.ReplaceAll(s, byteOrderMark, "")
	if (!plain || text != s) && !f.shell && !f.onlyURL && isBlank(text) {
		d.errorf(offset, path, "is empty after its variables and files are expanded: set them, or remove the field to configure none")
		d.missing++
		return "", false
	}
	if text != s {
		d.warnf(offset, path, "holds a byte order mark, which is left out: save the file or variable as UTF-8 without one")
	}
	return text, true
}

// isBlank reports whether a text consists of blanks, invisible characters and one pair of quotes:
// NAME="" in a file for "docker --env-file" sets a variable to two quotes.
func isBlank(s string) bool {
	left := strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.In(r, unicode.Cf) })
	if inQuotes(left) {
		left = strings.TrimSpace(strings.Trim(left, "\"'`“”‘’"))
	}
	return left == ""
}

// checkHeaderValue reports a credential that cannot be sent in a header, or that looks damaged.
// No message shows any of it.
func (d *decoder) checkHeaderValue(offset int, path string, s Secret) {
	value := s.Reveal()
	switch {
	case strings.ContainsFunc(value, unicode.IsControl):
		d.errorf(offset, path, "holds a line break or another control character, which cannot be sent in a header")
		return
	case strings.TrimSpace(value) != value:
		d.errorf(offset, path, "begins or ends with a blank")
		return
	case len(value) > 7 && strings.EqualFold(value[:7], "Bearer "):
		d.warnf(offset, path, `begins with "Bearer", which is added when it is sent: write the token alone`)
		value = value[7:]
	}
	if inQuotes(value) {
		d.warnf(offset, path, `begins and ends with quotes, which are sent as a part of it: "docker --env-file" keeps the quotes of a value, write it without`)
	}
	if odd := oddCharacter(value); odd != "" {
		d.warnf(offset, path, "holds %s, which is not usual in a credential: copy it again", odd)
	}
}

// inQuotes reports whether text is inside quotes of any of the usual kinds.
func inQuotes(s string) bool {
	for _, pair := range [...][2]string{{`"`, `"`}, {`'`, `'`}, {"`", "`"}, {"“", "”"}, {"‘", "’"}} {
		if len(s) >= len(pair[0])+len(pair[1]) && strings.HasPrefix(s, pair[0]) && strings.HasSuffix(s, pair[1]) {
			return true
		}
	}
	return false
}

// oddCharacter names the first character that suggests a copying mistake, "" if there is none.
func oddCharacter(s string) string {
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Cf): // zero width space, joiners, directional marks
			return "an invisible character"
		case unicode.IsSpace(r):
			return "a blank"
		case r > unicode.MaxASCII:
			return "a character that is not ASCII"
		}
	}
	return ""
}

package http1

import (
	"errors"
	"net/http"
	"strings"
)

// maxFields bounds the number of header lines, because each takes more memory than its bytes.
const maxFields = 2000

var (
	errLineEnd    = errors.New("a header line does not end in CRLF")
	errFoldedLine = errors.New("a folded header line")
	errFieldName  = errors.New("a malformed header name")
	errFieldValue = errors.New("a malformed header value")
	errFieldCount = errors.New("too many header lines")
)

// Bit sets of the characters of a token (RFC 9110, section 5.6.2), for 0 to 63 and 64 to 127.
const (
	tokenLow  = 0x03ff_6cfa_0000_0000 // ! # $ % & ' * + - . 0-9
	tokenHigh = 0x57ff_ffff_c7ff_fffe // A-Z ^ _ ` a-z | ~
)

func isTokenByte(c byte) bool {
	if c < 64 {
		return uint64(tokenLow)>>c&1 != 0
	}
	return c < 128 && uint64(tokenHigh)>>(c-64)&1 != 0
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s is a valid header value: no control characters except tabs. It
// checks eight bytes at a time.
func isFieldValue(s string) bool {
	const ones = 0x0101010101010101
	const highs, blanks, deletes = 0x80 * ones, ' ' * ones, 0x7f * ones
	for ; len(s) >= 8; s = s[8:] {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		// The high bit of a byte is set if the byte is below a blank or is DEL. A borrow may also
		// set it in the next byte, so a hit is checked byte by byte.
		d := w ^ deletes
		if ((w-blanks)&^w|(d-ones)&^d)&highs != 0 && !isFieldValueSlow(s[:8]) {
			return false
		}
	}
	return isFieldValueSlow(s)
}

// isFieldValueSlow is isFieldValue byte by byte.
func isFieldValueSlow(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// parseFields parses header lines up to the empty line. If strict is true, every line must end in
// CRLF. Names are in canonical form. The strings share memory with lines.
func parseFields(lines string, strict bool) (http.Header, error) {
	n := strings.Count(lines, "\n")
	if n > maxFields {
		return nil, errFieldCount
	}
	fields, values := make(http.Header, n), make([]string, 0, n)
	for {
		line, rest, found := strings.Cut(lines, "\n")
		lines = rest
		trimmed := strings.TrimSuffix(line, "\r")
		switch {
		case !found, strict && len(trimmed) == len(line):
			return nil, errLineEnd
		case trimmed == "":
			return fields, nil
		case trimmed[0] == ' ' || trimmed[0] == '\t':
			return nil, errFoldedLine
		}
		name, value, found := strings.Cut(trimmed, ":")
		key, ok := canonicalName(name)
		if !found || !ok {
			return nil, errFieldName
		}
		value = trimBlanks(value)
		if !isFieldValue(value) {
			return nil, errFieldValue
		}
		if former, ok := fields[key]; ok {
			fields[key] = append(former, value)
			continue
		}
		values = append(values, value)
		fields[key] = values[len(values)-1 : len(values) : len(values)]
	}
}

// cutStartLine separates the start line from the header lines.
func cutStartLine(header string, strict bool) (line, rest string, err error) {
	line, rest, _ = strings.Cut(header, "\n")
	trimmed := strings.TrimSuffix(line, "\r")
	if strict && len(trimmed) == len(line) {
		return "", "", errLineEnd
	}
	return trimmed, rest, nil
}

// hasToken reports whether a comma-separated header contains a token, ignoring case. token is in
// lower case.
func hasToken(values []string, token string) bool {
	for _, line := range values {
		for part := range strings.SplitSeq(line, ",") {
			if equalFold(trimBlanks(part), token) {
				return true
			}
		}
	}
	return false
}

// trimBlanks removes the optional white space around a value. Unlike textproto.TrimString it keeps
// CR and LF, so that isFieldValue rejects them.
func trimBlanks(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// equalFold compares s with a word in lower case, in ASCII only. strings.EqualFold takes the Kelvin
// sign for a k, which other servers do not.
func equalFold(s, word string) bool {
	if len(s) != len(word) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// parseLength parses the digits of a Content-Length. It accepts no sign and no blanks.
func parseLength(s string) (int64, bool) {
	const most = 18 // digits; more could overflow
	if s == "" || len(s) > most {
		return 0, false
	}
	n := int64(0)
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = 10*n + int64(d)
	}
	return n, true
}

package claude

import (
	"bytes"
	"math"
	"strconv"
)

// maxCount is far larger than every context window. A larger count is an error of the upstream.
const maxCount = 100_000_000

// count is one number of a usage object.
type count struct {
	n       int64
	valid   bool // present and valid
	invalid bool // present and not valid
}

// count reads the next value. null counts as missing.
func (s *scanner) count() count {
	raw := s.value()
	if len(raw) == 0 || string(raw) == "null" {
		return count{}
	}
	n, ok := parseTokenCount(raw)
	return count{n: n, valid: ok, invalid: !ok}
}

// parseTokenCount parses a count of tokens or requests. Some relays send numbers with a fraction or
// as strings; fractions are rounded. Negative counts, counts above maxCount and other values are
// not valid.
func parseTokenCount(raw []byte) (int64, bool) {
	if raw[0] == '"' {
		raw = bytes.TrimSpace(raw[1 : len(raw)-1])
	}
	if n, ok := parseDigits(raw); ok {
		return n, n <= maxCount
	}
	for _, c := range raw { // ParseFloat accepts more than JSON: "inf", "0x1p4"
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c|0x20 != 'e' {
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 || math.Round(f) > maxCount {
		return 0, false
	}
	return int64(math.Round(f)), true
}

// parseDigits parses a number of at most 18 digits.
func parseDigits(raw []byte) (n int64, ok bool) {
	if len(raw) == 0 || len(raw) > 18 {
		return 0, false
	}
	for _, c := range raw {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// maxEnumString bounds the length of a name in a usage object, such as a service tier.
const maxEnumString = 40

// enumString reads the next value and stores it if it is a string. Common values need no
// allocation.
func (s *scanner) enumString(to *string) {
	raw := s.value()
	if len(raw) < 2 || raw[0] != '"' {
		return
	}
	for _, usual := range [...]string{"standard", "batch", "priority", "fast", "global", "us", "not_available", ""} {
		if string(raw[1:len(raw)-1]) == usual {
			*to = usual
			return
		}
	}
	text := decodeString(raw)
	*to = text[:min(len(text), maxEnumString)]
}

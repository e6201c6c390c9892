package claude

import (
	"bytes"
	"math"
	"strconv"
)

// maxCount is far beyond every context window. A larger count is an upstream's mistake.
const maxCount = 100_000_000

// count is one number of a usage object.
type count struct {
	n       int64
	counted bool // present and usable
	refused bool // present but unusable
}

// count takes the value that comes next. null is the same as no value.
func (s *scanner) count() count {
	raw := s.value()
	if len(raw) == 0 || string(raw) == "null" {
		return count{}
	}
	n, ok := readCount(raw)
	return count{n: n, counted: ok, refused: !ok}
}

// readCount reads a count of tokens or requests. Some relays send numbers with a fraction or as
// strings: fractions are rounded. Negative counts, counts above maxCount and other values are
// rejected.
func readCount(raw []byte) (int64, bool) {
	if raw[0] == '"' {
		raw = bytes.TrimSpace(raw[1 : len(raw)-1])
	}
	if n, ok := parseDigits(raw); ok {
		return n, n <= maxCount
	}
	for _, c := range raw { // ParseFloat takes more than JSON does: "inf", "0x1p4"
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

// parseDigits reads a number of at most 18 digits.
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

// maxWord bounds a name in a usage object, such as a service tier.
const maxWord = 40

// word takes the value that comes next and stores it if it is a string. The usual words take no
// memory.
func (s *scanner) word(to *string) {
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
	*to = text[:min(len(text), maxWord)]
}

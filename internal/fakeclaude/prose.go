package fakeclaude

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"unicode/utf16"
)

// randomWord returns a word, which counts as one token. Some words are not ASCII, so that tests
// find wrong handling of bytes.
func randomWord(rng *rand.Rand) string {
	vocabulary := [...]string{
		"the", "a", "file", "test", "function", "returns", "error", "reads", "writes", "checks", "line",
		"value", "package", "build", "server", "request", "answer", "stream", "cache", "retry", "session",
		"change", "small", "first", "then", "after", "before", "because", "so", "it", "this", "that", "we",
		"should", "now", "keeps", "sends", "holds", "looks", "at", "in", "of", "and", "with", "without",
		"for", "every", "each", "only", "naïve", "café", "→", "✓", "run", "green", "done", "code", "path",
		"name", "field", "\"quoted\"", "a\\b", "x < y", "日本",
	}
	return vocabulary[rng.IntN(len(vocabulary))]
}

// prose returns n tokens of text in pieces of one to four tokens. If n > 1 there are at least two
// pieces, so that a fault can happen between them.
func prose(rng *rand.Rand, n int) []piece {
	var pieces []piece
	for written := 0; written < n; {
		size := min(1+rng.IntN(4), n-written)
		if written == 0 && size == n && n > 1 {
			size = n / 2
		}
		var text []byte
		for i := range size {
			if written+i > 0 {
				text = append(text, separator(written+i))
			}
			text = append(text, randomWord(rng)...)
		}
		pieces = append(pieces, piece{text: string(text), tokens: int64(size)})
		written += size
	}
	return pieces
}

func separator(word int) byte {
	if word%16 == 0 {
		return '\n'
	}
	return ' '
}

// token returns an id in the format of the API, without its prefix.
func token(rng *rand.Rand) string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	id := []byte("01")
	for range 22 {
		id = append(id, alphabet[rng.IntN(len(alphabet))])
	}
	return string(id)
}

// quoted returns s as a JSON string.
func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`)
	}
	return b
}

// utf16Units returns the UTF-16 code units of r in hexadecimal.
func utf16Units(r rune) []string {
	if high, low := utf16.EncodeRune(r); high != '\uFFFD' {
		return []string{fmt.Sprintf("%04x", high), fmt.Sprintf("%04x", low)}
	}
	return []string{fmt.Sprintf("%04x", r)}
}

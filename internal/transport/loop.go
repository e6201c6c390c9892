package transport

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// LoopHeader carries the marks of the balancers that a request has passed.
//
// RFC 9110 defines Via for this purpose, but some upstreams and caches treat requests with Via
// differently, and front proxies add to it.
const LoopHeader = "X-Lb-Loop"

const (
	nonceSize = 8
	markSize  = 2 * nonceSize
	// maxMarks limits how many balancers a request may pass. It ends loops through balancers that
	// do not recognize their own marks, because they are several processes behind one address or
	// were restarted.
	maxMarks = 16
)

// Loop marks requests that this process sends, and recognizes them when they come back. Immutable.
//
// A mark is random and reveals only that a balancer was passed. Each server gets a different mark,
// so that two relays, or two accounts at one relay, cannot find out that they have the same
// customer. A key of this process authenticates the mark. Requests to Anthropic's own hosts, which
// cannot be this balancer, carry no mark.
type Loop struct{ key [32]byte }

// NewLoop makes a Loop with a random key.
func NewLoop() *Loop {
	l := &Loop{}
	_, _ = rand.Read(l.key[:]) // never fails
	return l
}

// MarkOf returns the mark for a server.
func (l *Loop) MarkOf(id []byte) string {
	nonce := l.sum(id)[:nonceSize]
	return hex.EncodeToString(append(nonce, l.sum(nonce)[:nonceSize]...))
}

func (l *Loop) sum(b []byte) []byte {
	h := hmac.New(sha256.New, l.key[:])
	h.Write(b)
	return h.Sum(nil)
}

// isOwn reports whether MarkOf made a mark.
func (l *Loop) isOwn(mark string) bool {
	raw, err := hex.DecodeString(mark)
	return err == nil && len(raw) == markSize && hmac.Equal(l.sum(raw[:nonceSize])[:nonceSize], raw[nonceSize:])
}

// HasLooped reports whether a request with this header has passed this balancer before, or has
// passed too many balancers. A nil Loop always reports false.
func (l *Loop) HasLooped(h http.Header) bool {
	if l == nil || h[LoopHeader] == nil {
		return false
	}
	marks := Marks(h)
	for _, mark := range marks {
		if l.isOwn(mark) {
			return true
		}
	}
	return len(marks) >= maxMarks
}

// Marks returns the valid marks in a request's header, at most maxMarks.
func Marks(h http.Header) []string {
	var marks []string
	for _, line := range h[LoopHeader] {
		for mark := range strings.SplitSeq(line, ",") {
			if mark = strings.TrimSpace(mark); isMark(mark) && len(marks) < maxMarks {
				marks = append(marks, mark)
			}
		}
	}
	return marks
}

func isMark(text string) bool {
	return len(text) == 2*markSize && strings.Trim(text, "0123456789abcdef") == ""
}

package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/quota"
)

// ErrTooLarge reports that there was no memory for a decoded request body.
var ErrTooLarge = errors.New("no memory left for the decoded body")

// firstText is the initial size of the buffer for a decoded request, in bytes.
const firstText = 16 << 10

// IsEncoded reports whether the Content-Encoding lines of a request name a coding, known or not.
func IsEncoded(contentEncoding []string) bool {
	if len(contentEncoding) == 0 {
		return false
	}
	codings, err := parseCodings(contentEncoding)
	return err != nil || len(codings) > 0
}

// DecodeRequest returns the decoded text of a request body, of at most `most` bytes. It calls grow
// before it allocates memory; if grow returns false, the error is ErrTooLarge. Any other error is a
// *quota.Refusal, for clients whose limits depend on the text.
func DecodeRequest(raw []byte, contentEncoding []string, most int64, grow func(n int64) bool) ([]byte, error) {
	codings, err := parseCodings(contentEncoding)
	switch {
	case errors.Is(err, errUnknownCoding):
		return nil, unreadable(http.StatusUnsupportedMediaType,
			"claude-code-lb cannot read the Content-Encoding of this request: send the body as it is, or encoded as gzip, deflate, br or zstd.")
	case err != nil:
		return nil, unreadable(http.StatusUnsupportedMediaType, fmt.Sprintf("The request names %v: send the body as it is, or encoded once.", err))
	case claude.IsRequest(raw):
		// A server that ignores the header would read another request than a server that follows
		// it.
		return nil, unreadable(http.StatusBadRequest, "The request has a Content-Encoding, but its body is plain JSON: send it without the header.")
	}
	r := undo(codings, io.NopCloser(bytes.NewReader(raw)), most)
	defer r.Close()
	text, err := readText(r, grow)
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, ErrTooLarge):
		return nil, err
	case errors.Is(err, errGrowth):
		return nil, unreadable(http.StatusBadRequest, fmt.Sprintf("The encoded request body grows beyond %d MB or %d times its size when it is decoded: send a smaller one.", most>>20, maxGrowth))
	default:
		return nil, unreadable(http.StatusBadRequest, "The request body cannot be decoded as its Content-Encoding says: send it again, or without that encoding.")
	}
}

// readText reads all of r. It calls grow before every allocation.
func readText(r io.Reader, grow func(int64) bool) ([]byte, error) {
	var text []byte
	for {
		if len(text) == cap(text) {
			size := max(2*cap(text), firstText)
			if !grow(int64(size - cap(text))) {
				return nil, ErrTooLarge
			}
			text = append(make([]byte, 0, size), text...)
		}
		n, err := r.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if errors.Is(err, io.EOF) {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func unreadable(status int, message string) *quota.Refusal {
	return &quota.Refusal{Status: status, Type: claude.ErrInvalidRequest, Message: message, Reason: "content-encoding", Final: true}
}

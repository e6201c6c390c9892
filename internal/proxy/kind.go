package proxy

import (
	"net/http"
	"strings"
)

// kind is what is known beforehand of the answer to a request.
type kind uint8

const (
	kindOther    kind = iota // anything: passed on as it comes
	kindPlain                // one JSON document, of moderate size
	kindStream               // a stream of message events
	kindResource             // what is said of a batch, file or skill
)

const (
	messagesPath = "/v1/messages"
	countPath    = messagesPath + "/count_tokens"
)

func kindOf(method, path string, stream bool) kind {
	switch {
	case method == http.MethodPost && path == messagesPath && stream:
		return kindStream
	case method == http.MethodPost && (path == messagesPath || path == countPath),
		method == http.MethodGet && (path == "/v1/models" || strings.HasPrefix(path, "/v1/models/")):
		return kindPlain
	default:
		return kindOther
	}
}

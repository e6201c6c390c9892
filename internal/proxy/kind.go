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
	kindEither               // kindPlain or kindStream: the request could not be read. The answer decides.
)

const (
	messagesPath = "/v1/messages"
	countPath    = messagesPath + "/count_tokens"
)

// kindOf returns the kind of the answer to a request; unclear says that the body does not tell whether it asks for a stream.
func kindOf(method, path string, stream, unclear bool) kind {
	switch {
	case method == http.MethodPost && path == messagesPath && unclear:
		return kindEither
	case method == http.MethodPost && path == messagesPath && stream:
		return kindStream
	case method == http.MethodPost && (path == messagesPath || path == countPath),
		method == http.MethodGet && (path == "/v1/models" || strings.HasPrefix(path, "/v1/models/")):
		return kindPlain
	default:
		return kindOther
	}
}

// settleKind decides what a response is whose kind was not known beforehand.
func (x *exchange) settleKind(a *answer) {
	if x.kind != kindEither {
		return
	}
	x.kind = kindPlain
	if a.stream {
		x.kind = kindStream
	}
	x.entry.Stream = a.stream
}

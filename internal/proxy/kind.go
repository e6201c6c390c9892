package proxy

import (
	"net/http"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// kind is the kind of response that a request asks for.
type kind uint8

const (
	kindOther    kind = iota // anything: relayed as it arrives
	kindPlain                // a message as one JSON document
	kindStream               // a stream of message events
	kindResource             // the description of a batch, file or skill
	kindEither               // kindPlain or kindStream: the request could not be read, so the response decides
	kindCount                // a token count
	kindModels               // a page of the list of models
	kindModel                // one model
)

// kindOf returns the kind of response to a request; unclear means that the body does not show
// whether it asks for a stream.
func kindOf(method, path string, stream, unclear bool) kind {
	switch {
	case method == http.MethodPost && path == claude.MessagesPath && unclear:
		return kindEither
	case method == http.MethodPost && path == claude.MessagesPath && stream:
		return kindStream
	case method == http.MethodPost && path == claude.MessagesPath:
		return kindPlain
	case method == http.MethodPost && path == claude.TokenCountPath:
		return kindCount
	case method == http.MethodGet && path == claude.ModelsPath:
		return kindModels
	case method == http.MethodGet && strings.HasPrefix(path, claude.ModelsPath+"/"):
		return kindModel
	default:
		return kindOther
	}
}

// decideKind sets the kind from the response if the request did not show it.
func (x *exchange) decideKind(a *attempt) {
	if x.kind != kindEither {
		return
	}
	x.kind = kindPlain
	if a.stream {
		x.kind = kindStream
	}
	x.entry.Stream = a.stream
}

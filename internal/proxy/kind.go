package proxy

import (
	"net/http"
	"strings"
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

const (
	messagesPath = "/v1/messages"
	countPath    = messagesPath + "/count_tokens"
	modelsPath   = "/v1/models"
)

// kindOf returns the kind of response to a request; unclear means that the body does not show
// whether it asks for a stream.
func kindOf(method, path string, stream, unclear bool) kind {
	switch {
	case method == http.MethodPost && path == messagesPath && unclear:
		return kindEither
	case method == http.MethodPost && path == messagesPath && stream:
		return kindStream
	case method == http.MethodPost && path == messagesPath:
		return kindPlain
	case method == http.MethodPost && path == countPath:
		return kindCount
	case method == http.MethodGet && path == modelsPath:
		return kindModels
	case method == http.MethodGet && strings.HasPrefix(path, modelsPath+"/"):
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

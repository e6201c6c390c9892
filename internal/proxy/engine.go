package proxy

import (
	"maps"
	"net/http"
)

// This file has everything that the proxy expects of the HTTP engine beyond net/http's interfaces.
// Package http1 implements the interfaces; with net/http they are absent, and the proxy does
// without.
//
// Two header fields are understood by package transport. An Idempotency-Key without a value marks a
// request that may be repeated on a new connection (see prepareOutgoing), and a User-Agent without
// a value keeps net/http from adding its own. Neither is sent.

// headerTaker is a ResponseWriter that sends a given header without a copy. The header belongs to
// the ResponseWriter from then on.
type headerTaker interface {
	UseHeader(h http.Header)
}

// writeLimiter is a ResponseWriter that can report whether its server gives up clients that do not
// accept what is written. Then the proxy sets no write deadlines.
type writeLimiter interface {
	LimitsWrites() bool
}

// useHeader gives h to the response, and returns the header that WriteHeader will send.
func useHeader(w http.ResponseWriter, h http.Header) http.Header {
	if taker, ok := w.(headerTaker); ok {
		taker.UseHeader(h)
		return h
	}
	own := w.Header()
	maps.Copy(own, h)
	return own
}

// limitsWrites reports whether the server of w gives up clients that do not accept what is written.
func limitsWrites(w http.ResponseWriter) bool {
	limiter, ok := w.(writeLimiter)
	return ok && limiter.LimitsWrites()
}

package proxy

import (
	"bytes"
	"io"
)

// Body is a request's body: bytes that nobody changes any more.
type Body struct{ b []byte }

// NewBody takes b over; the caller must not change it afterwards.
func NewBody(b []byte) Body { return Body{b} }

// Reader returns a fresh reader over the whole body; attempts share none.
func (b Body) Reader() io.ReadCloser { return io.NopCloser(bytes.NewReader(b.b)) }

// Len is the body's length in bytes.
func (b Body) Len() int { return len(b.b) }

package fakeclaude

import (
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// encoder compresses a body. A client can decode everything that was written before a Flush.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// compress encodes the rest of the body with one of fault.Codings; "" is gzip.
func (x *wire) compress(coding string) {
	x.coding = coding
	switch coding {
	case "deflate":
		x.encoder = zlib.NewWriter(&x.encoded)
	case "br":
		x.encoder = brotli.NewWriter(&x.encoded)
	case "zstd":
		x.encoder = newZstdWriter(&x.encoded)
	default:
		x.coding = "gzip"
		x.encoder = gzip.NewWriter(&x.encoded)
	}
}

// newZstdWriter returns an encoder that needs little memory and starts no goroutines, so that a
// response that is cut leaks none.
func newZstdWriter(w io.Writer) *zstd.Encoder {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10))
	if err != nil { // only for contradictory options
		panic(fmt.Sprintf("fakeclaude: zstd: %v", err))
	}
	return z
}

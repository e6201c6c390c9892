package fakeclaude

import (
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// Codings lists the codings of FaultGzip by their names in Content-Encoding, the default first.
func Codings() []string { return []string{"gzip", "deflate", "br", "zstd"} }

// encoder compresses. What has been written can be decoded after a Flush.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// compress sends what follows in one of Codings; "" is gzip.
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

// newZstdWriter makes an encoder without goroutines, so that an answer that is
// broken off leaves nothing behind, and with little memory for each.
func newZstdWriter(w io.Writer) *zstd.Encoder {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10))
	if err != nil { // only options that do not fit each other
		panic(fmt.Sprintf("fakeclaude: zstd: %v", err))
	}
	return z
}

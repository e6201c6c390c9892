package proxy

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// maxCodings is how many codings of one response are undone. More are a mistake or an attack.
	maxCodings = 3
	// maxWindow limits how much of its output a decoder keeps. RFC 9659 requires this size of zstd
	// decoders.
	maxWindow = 8 << 20
	// A decoded response may have freeGrowth bytes, and beyond that maxGrowth times its encoded
	// size. Text grows less than tenfold. What grows much more is an attack.
	freeGrowth = 8 << 20
	maxGrowth  = 100
)

var (
	errGrowth   = errors.New("grows beyond measure")
	errWindow   = errors.New("window larger than 8 MB")
	errTrailing = errors.New("data after its end")

	errUnknownCoding  = errors.New("unknown content-encoding")
	errTooManyCodings = fmt.Errorf("more than %d content-encodings", maxCodings)
)

// decoded undoes the codings that the Content-Encoding lines of a response name. They are listed in
// the order in which they were applied (RFC 9110, section 8.4). changed reports whether there are
// any; without one the result is body itself. decoded reads nothing, so errors in the data appear
// when the result is read.
//
// A Read returns everything that can be decoded from the bytes that have arrived. Errors of body
// are returned as they are. Errors of a coding, excessive growth included, wrap
// verdict.ErrUnusable, and io.ErrUnexpectedEOF if the data ends early. Close frees the decoders and
// closes body. It must not be called during a Read.
func decoded(body io.ReadCloser, contentEncoding []string) (r io.ReadCloser, changed bool, err error) {
	codings, err := parseCodings(contentEncoding)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", verdict.ErrUnusable, err)
	}
	if len(codings) == 0 {
		return body, false, nil
	}
	return undo(codings, body, math.MaxInt64), true, nil
}

// undo decodes a body to which codings were applied in this order. No layer may have more than most
// bytes.
func undo(codings []coding, body io.ReadCloser, most int64) io.ReadCloser {
	wire := &meter{ReadCloser: body}
	var r io.ReadCloser = wire
	for _, c := range slices.Backward(codings) {
		d := newDecoder(c, r, wire)
		d.most = most
		r = d
	}
	return r
}

// meter counts the bytes that are read from a body.
type meter struct {
	io.ReadCloser
	n int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.n += int64(n)
	return n, err
}

// coding is one way in which a body may be encoded.
type coding struct {
	name string
	// open begins to decode. The reader has at least one byte or returns an error.
	open func(*bufio.Reader) (io.ReadCloser, error)
	// repeats is set if several encoded bodies in a row count as one.
	repeats bool
}

// parseCodings returns the codings that the lines name. An unknown one is an error.
func parseCodings(lines []string) ([]coding, error) {
	var codings []coding
	for name := range strings.SplitSeq(strings.ToLower(strings.Join(lines, ",")), ",") {
		switch name = strings.TrimSpace(name); name {
		case "", "identity":
		case "gzip", "x-gzip":
			codings = append(codings, coding{"gzip", openGzip, true})
		case "deflate":
			codings = append(codings, coding{"deflate", openDeflate, false})
		case "br":
			codings = append(codings, coding{"br", openBrotli, false})
		case "zstd":
			codings = append(codings, coding{"zstd", openZstd, true})
		default:
			return nil, errUnknownCoding
		}
	}
	if len(codings) > maxCodings {
		return nil, errTooManyCodings
	}
	return codings, nil
}

func openGzip(in *bufio.Reader) (io.ReadCloser, error) {
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	// In multistream mode the last bytes of a member would wait for the next one.
	z.Multistream(false)
	return z, nil
}

// openDeflate decodes the zlib format, which is what "deflate" means, and the bare deflate data
// that some servers send under this name.
func openDeflate(in *bufio.Reader) (io.ReadCloser, error) {
	head, err := in.Peek(2)
	if err != nil {
		return nil, err
	}
	const method, largestWindow = 8, 7 // RFC 1950, section 2.2
	if head[0]&0x0f == method && head[0]>>4 <= largestWindow && binary.BigEndian.Uint16(head)%31 == 0 {
		return zlib.NewReader(in)
	}
	return flate.NewReader(in), nil
}

func openBrotli(in *bufio.Reader) (io.ReadCloser, error) {
	head, err := in.Peek(1)
	if err != nil {
		return nil, err
	}
	// These bits mean a window of 16 MB; every other one is at most half as large (RFC 7932,
	// section 9.1).
	if head[0]&0x0f == 0x0f {
		return nil, errWindow
	}
	return io.NopCloser(brotli.NewReader(in)), nil
}

func openZstd(in *bufio.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(in,
		zstd.WithDecoderConcurrency(1), // decodes inside Read, without goroutines
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderMaxMemory(maxWindow)) // for frames that are a window by themselves
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// decoder undoes one coding.
type decoder struct {
	coding coding
	body   source
	wire   *meter        // over the encoded body, below all decoders
	out    int64         // bytes decoded
	most   int64         // of out
	in     *bufio.Reader // over body
	stream io.ReadCloser // nil before the first byte and between two encoded bodies
	begun  bool
	err    error // how reading ended
}

func newDecoder(c coding, body io.ReadCloser, wire *meter) *decoder {
	d := &decoder{coding: c, body: source{ReadCloser: body}, wire: wire}
	d.in = bufio.NewReader(&d.body)
	return d
}

func (d *decoder) Read(p []byte) (int, error) {
	for d.err == nil {
		if d.stream == nil {
			if err := d.open(); err != nil {
				d.err = d.explain(err)
				break
			}
		}
		n, err := d.stream.Read(p)
		if d.out += int64(n); d.out > min(freeGrowth+maxGrowth*d.wire.n, d.most) {
			err = errGrowth
		}
		switch {
		case errors.Is(err, io.EOF):
			// The end of one encoded body. The next Read looks for another one, so that these n
			// bytes need not wait.
			d.release()
		case err != nil:
			d.err = d.explain(err)
			return n, d.err
		}
		if n > 0 || err == nil {
			return n, nil
		}
	}
	return 0, d.err
}

// open begins the next encoded body. It returns io.EOF if at least one was read and no other
// follows.
func (d *decoder) open() error {
	_, err := d.in.Peek(1)
	switch {
	case errors.Is(err, io.EOF) && !d.begun:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case d.begun && !d.coding.repeats:
		return errTrailing
	}
	d.begun = true
	stream, err := d.coding.open(d.in)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	d.stream = stream
	return err
}

// explain distinguishes a clean end, an error of the body and an error of the coding.
func (d *decoder) explain(err error) error {
	switch {
	case d.body.err != nil:
		return d.body.err
	case errors.Is(err, io.EOF):
		return io.EOF
	default:
		return fmt.Errorf("%w: decode %s: %w", verdict.ErrUnusable, d.coding.name, err)
	}
}

func (d *decoder) release() {
	if d.stream != nil {
		d.stream.Close() // returns no error that Read did not
		d.stream = nil
	}
}

// Close frees the decoder and closes the body.
func (d *decoder) Close() error {
	d.release()
	d.err = http.ErrBodyReadAfterClose
	return d.body.Close()
}

// source is a body that remembers its error. Decoders hide it: they treat some errors as an early
// end, and zstd treats some as a clean one.
type source struct {
	io.ReadCloser
	err error // never io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

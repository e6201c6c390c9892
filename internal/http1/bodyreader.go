package http1

import "io"

// bodyReader reads the body of one message, request or response, from a connection's input. Chunk
// framing is removed in place, in the caller's buffer, so no byte is copied twice. The zero value
// is an empty body.
type bodyReader struct {
	framing framing
	left    int64 // bytes of framing.length that have not been read
	chunks  chunkDecoder
}

// newBodyReader returns the reader for a body with framing f.
func newBodyReader(f framing) bodyReader { return bodyReader{framing: f, left: f.length} }

// read returns io.EOF together with the last bytes, unless the end of the connection is the end of
// the body. A body that is cut off ends with io.ErrUnexpectedEOF.
func (b *bodyReader) read(in *input, p []byte) (int, error) {
	switch {
	case b.framing.chunked:
		return b.readChunks(in, p)
	case b.framing.untilClose:
		return in.read(p)
	}
	n, err := in.read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case b.left == 0:
		return n, io.EOF
	case err == io.EOF:
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// readChunks reads a body with Transfer-Encoding: chunked. Bytes after its end go back to the
// input.
func (b *bodyReader) readChunks(in *input, p []byte) (int, error) {
	for {
		got, err := in.read(p)
		n, used, malformed := b.chunks.decode(p[:got])
		switch {
		case malformed != nil:
			return n, malformed
		case b.chunks.isDone():
			in.unread(p[used:got])
			return n, io.EOF
		case err == io.EOF:
			return n, io.ErrUnexpectedEOF
		case n > 0 || err != nil:
			return n, err
		}
	}
}

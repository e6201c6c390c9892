package http1

import "math"

const (
	// maxChunkExtension bounds the rest of a line after the chunk size. Extensions are not used in
	// practice.
	maxChunkExtension = 256
	// maxSizeDigits bounds the digits of a chunk size, leading zeros included.
	maxSizeDigits = 16
	// maxTrailerBytes bounds the trailers, which are discarded.
	maxTrailerBytes = 2 << 10
	// maxChunkOverhead bounds the framing bytes in excess of what the data justifies. Many tiny
	// chunks cost the reader more than the sender, so a sender that exceeds it is attacking.
	maxChunkOverhead = 16 << 10
)

// chunkState is the position in a chunked body (RFC 9112, section 7.1): what the next byte is.
type chunkState uint8

const (
	chunkSize chunkState = iota // before the first digit
	chunkDigits
	chunkBlank // after the digits
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerName
	trailerValue
	trailerLF
	finalLF
	chunkEnd
)

// chunkDecoder removes the framing of a chunked body, which may arrive in pieces of any size. The
// zero value is at the start of a body. Chunk extensions and trailers are discarded.
type chunkDecoder struct {
	state     chunkState
	left      int64 // bytes left of the chunk
	lineBytes int   // bytes of the digits or the extension, or of all trailers
	overhead  int64 // framing bytes in excess of what the data justifies
}

// decode replaces the start of p by the data in p, n bytes. used is the number of bytes of p that
// belong to the body; it is less than len(p) only at the end of the body.
func (c *chunkDecoder) decode(p []byte) (n, used int, err error) {
	for used < len(p) && c.state != chunkEnd {
		if c.state == chunkData {
			m := int(min(c.left, int64(len(p)-used)))
			n += copy(p[n:], p[used:used+m])
			used += m
			if c.left -= int64(m); c.left == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		if !c.step(p[used]) {
			return n, used, errBadFraming
		}
		used++
	}
	return n, used, nil
}

func (c *chunkDecoder) isDone() bool { return c.state == chunkEnd }

// step reads one byte of framing. It returns false if the byte is not allowed at this position.
func (c *chunkDecoder) step(b byte) bool {
	if c.overhead++; c.overhead > maxChunkOverhead {
		return false
	}
	switch c.state {
	case chunkSize, chunkDigits:
		return c.digit(b)
	case chunkBlank, chunkExtension:
		return c.extension(b)
	case chunkSizeLF:
		return b == '\n' && c.endSizeLine()
	case chunkDataCR:
		c.state = chunkDataLF
		return b == '\r'
	case chunkDataLF:
		c.state = chunkSize
		return b == '\n'
	default:
		return c.trailer(b)
	}
}

func (c *chunkDecoder) digit(b byte) bool {
	d, ok := hexDigit(b)
	switch {
	case !ok:
		return c.state == chunkDigits && c.extension(b)
	case c.lineBytes == maxSizeDigits || c.left > math.MaxInt64>>5:
		return false
	}
	c.lineBytes++
	c.state, c.left = chunkDigits, c.left<<4|int64(d)
	return true
}

// extension reads what follows the digits of a size: blanks, and after a semicolon any text.
func (c *chunkDecoder) extension(b byte) bool {
	if c.lineBytes++; c.lineBytes > maxChunkExtension {
		return false
	}
	switch {
	case b == '\r':
		c.state = chunkSizeLF
		return true
	case c.state == chunkExtension:
		return b == '\t' || b >= ' ' && b != 0x7f
	case b == ';' && c.state == chunkDigits:
		c.state = chunkExtension
		return true
	case b == ' ' || b == '\t':
		c.state = chunkBlank
		return true
	}
	return false
}

// endSizeLine is called at the end of a chunk size's line.
func (c *chunkDecoder) endSizeLine() bool {
	c.lineBytes = 0
	if c.left == 0 {
		c.state = trailerStart
		return true
	}
	c.overhead = max(0, c.overhead-16-2*c.left)
	c.state = chunkData
	return true
}

func (c *chunkDecoder) trailer(b byte) bool {
	if c.lineBytes++; c.lineBytes > maxTrailerBytes {
		return false
	}
	switch c.state {
	case trailerStart:
		if b == '\r' {
			c.state = finalLF
			return true
		}
		c.state = trailerName
		return isTokenByte(b)
	case trailerName:
		if b == ':' {
			c.state = trailerValue
			return true
		}
		return isTokenByte(b)
	case trailerValue:
		if b == '\r' {
			c.state = trailerLF
			return true
		}
		return b == '\t' || b >= ' ' && b != 0x7f
	case trailerLF:
		c.state = trailerStart
		return b == '\n'
	default: // finalLF
		c.state = chunkEnd
		return b == '\n'
	}
}

func hexDigit(b byte) (byte, bool) {
	switch {
	case '0' <= b && b <= '9':
		return b - '0', true
	case 'a' <= b && b <= 'f':
		return b - 'a' + 10, true
	case 'A' <= b && b <= 'F':
		return b - 'A' + 10, true
	}
	return 0, false
}

package http1

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// responseWriter is the http.ResponseWriter of one request. One goroutine at a time uses it. Bytes
// are buffered in a pooled block until the block is full, the handler flushes, or the handler
// returns. In between no memory is held.
type responseWriter struct {
	c          *conn
	header     http.Header
	status     int          // 0 before WriteHeader
	isHEAD     bool         // the request was a HEAD
	http10     bool         // the client speaks HTTP/1.0
	closeAfter bool         // the connection ends after this response
	body       *requestBody // of the request; nil: the request could not be parsed

	block          *block
	buf            []byte // unsent bytes: the block, or a larger buffer
	framingDecided bool   // the header that frames the body has been written to buf
	framingAt      int    // offset in buf at which that header belongs
	chunked        bool
	noBody         bool  // the response has no body
	contentLength  int64 // declared by the handler; -1: unknown
	written        int64 // bytes of the body
	err            error // of a write to the client
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// UseHeader replaces the map that Header returns, for a handler that has a complete one. The caller
// must not use h afterwards.
func (w *responseWriter) UseHeader(h http.Header) { w.header = h }

// LimitsWrites reports whether the server limits the time of a write, so that the handler need not
// set deadlines.
func (w *responseWriter) LimitsWrites() bool { return w.c.server.WriteTimeout > 0 }

// WriteHeader fixes the status and the header. A status of 1xx is ignored.
func (w *responseWriter) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("http1: invalid status %d", status))
	}
	if w.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	w.noBody = w.isHEAD || status == http.StatusNoContent || status == http.StatusNotModified
	w.block = w.c.server.pool.get()
	w.buf = appendStatus(w.block[:0], status)
	w.buf = w.appendFields(w.buf)
	if w.closeAfter = w.closeAfter || w.c.server.isClosing() || w.body.hasFailed(); w.closeAfter {
		w.buf = append(w.buf, "Connection: close\r\n"...)
	}
	w.framingAt = len(w.buf)
	if w.contentLength >= 0 || w.noBody {
		w.writeFraming("")
	}
}

func appendStatus(b []byte, status int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	return append(append(b, statusText(status)...), "\r\n"...)
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "status code " + strconv.Itoa(status)
}

// appendFields writes the header fields, except those that concern the connection, which the engine
// writes itself.
func (w *responseWriter) appendFields(b []byte) []byte {
	dated := false
	for name, values := range w.header {
		switch name {
		case "Connection":
			w.closeAfter = w.closeAfter || hasToken(values, "close")
			continue
		case "Content-Length":
			n, ok := int64(0), false
			if len(values) > 0 {
				n, ok = parseLength(values[0])
			}
			if !ok || w.status == http.StatusNoContent {
				continue
			}
			w.contentLength, values = n, values[:1]
		case "Date":
			dated = true
		default:
			if isManagedField(name) {
				continue
			}
		}
		if isToken(name) {
			b = appendSanitized(b, name, values)
		}
	}
	if dated {
		return b
	}
	b = append(b, "Date: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	return append(b, "\r\n"...)
}

// appendSanitized writes a field. Control characters, which could end its line, become blanks.
func appendSanitized(b []byte, name string, values []string) []byte {
	for _, v := range values {
		if !isFieldValue(v) {
			values = withoutControls(values)
			break
		}
	}
	return appendField(b, name, values)
}

// appendField writes a field whose values have been checked.
func appendField(b []byte, name string, values []string) []byte {
	for _, v := range values {
		b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
	}
	return b
}

func withoutControls(values []string) []string {
	plain := make([]string, 0, len(values))
	for _, v := range values {
		b := []byte(v)
		for i, c := range b {
			if c < ' ' && c != '\t' || c == 0x7f {
				b[i] = ' '
			}
		}
		plain = append(plain, string(b))
	}
	return plain
}

// writeFraming inserts the field that frames the body, and the end of the header, in front of the
// buffered body.
func (w *responseWriter) writeFraming(line string) {
	w.framingDecided = true
	w.buf = slices.Insert(w.buf, w.framingAt, append([]byte(line), "\r\n"...)...)
}

// frameUnknownLength is writeFraming for a body of unknown length.
func (w *responseWriter) frameUnknownLength() {
	body := len(w.buf) - w.framingAt
	switch {
	case w.http10: // the body ends with the connection
		line := "Connection: close\r\n"
		if w.closeAfter {
			line = ""
		}
		w.closeAfter = true
		w.writeFraming(line)
	case body == 0:
		w.chunked = true
		w.writeFraming("Transfer-Encoding: chunked\r\n")
	default:
		w.chunked = true
		w.writeFraming("Transfer-Encoding: chunked\r\n\r\n" + strconv.FormatInt(int64(body), 16))
		w.buf = append(w.buf, "\r\n"...)
	}
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case w.noBody && w.isHEAD:
		return len(p), nil
	case w.noBody:
		return 0, http.ErrBodyNotAllowed
	case len(p) == 0:
		return 0, nil
	case w.contentLength >= 0 && w.written+int64(len(p)) > w.contentLength:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	w.ensureBuffer()
	if !w.framingDecided && len(w.buf)+len(p)+maxChunkFrame > blockSize {
		w.frameUnknownLength()
	}
	return len(p), w.addBody(p)
}

// maxChunkFrame bounds the framing of one chunk: two line ends and the digits of a size.
const maxChunkFrame = 2*2 + 16

// addBody buffers a part of the body, as a chunk if needed, or sends it with what is buffered.
func (w *responseWriter) addBody(p []byte) error {
	if w.framingDecided && w.chunked {
		w.buf = strconv.AppendInt(w.buf, int64(len(p)), 16)
		w.buf = append(w.buf, "\r\n"...)
	}
	if len(w.buf)+len(p)+maxChunkFrame <= blockSize {
		w.buf = append(w.buf, p...)
		if w.framingDecided && w.chunked {
			w.buf = append(w.buf, "\r\n"...)
		}
		return nil
	}
	if err := w.send(p); err != nil || !w.chunked {
		return err
	}
	w.ensureBuffer()
	w.buf = append(w.buf, "\r\n"...) // sent together with what follows
	return nil
}

// ensureBuffer takes a block from the pool if the writer has none.
func (w *responseWriter) ensureBuffer() {
	if w.buf == nil {
		w.block = w.c.server.pool.get()
		w.buf = w.block[:0]
	}
}

// send sends the buffered bytes and p.
func (w *responseWriter) send(p []byte) error {
	if w.err == nil {
		w.err = w.c.write(w.buf, p)
	}
	w.releaseBuffer()
	return w.err
}

// releaseBuffer returns the block to the pool.
func (w *responseWriter) releaseBuffer() {
	w.c.server.pool.put(w.block)
	w.block, w.buf = nil, nil
}

// FlushError sends the buffered bytes.
func (w *responseWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.framingDecided {
		w.frameUnknownLength()
	}
	if len(w.buf) == 0 {
		return w.err
	}
	return w.send(nil)
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// finish sends the rest when the handler has returned. It returns an error if the client has not
// received the whole declared response.
func (w *responseWriter) finish() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.framingDecided {
		w.writeFraming("Content-Length: " + strconv.Itoa(len(w.buf)-w.framingAt) + "\r\n")
	}
	if w.chunked {
		w.ensureBuffer()
		w.buf = append(w.buf, "0\r\n\r\n"...)
	}
	if len(w.buf) > 0 {
		_ = w.send(nil)
	}
	err := w.err
	if err == nil && w.contentLength >= 0 && w.written != w.contentLength && !w.noBody {
		err = http.ErrContentLength
	}
	w.err = errHandlerReturned // a goroutine that outlives the handler must not write into the next response
	return err
}

// writeContinue sends 100 Continue, unless the final response has begun.
func (w *responseWriter) writeContinue() error {
	if w.status != 0 {
		return nil
	}
	return w.c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"), nil)
}

// SetReadDeadline sets the deadline for reads of the body. Any goroutine may call it. After the
// handler has returned it has no effect.
func (w *responseWriter) SetReadDeadline(t time.Time) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.c.current != w {
		return http.ErrHandlerTimeout
	}
	return w.c.setReadDeadlineLocked(t)
}

// SetWriteDeadline sets the deadline for writes, under the same rules.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.c.current != w {
		return http.ErrHandlerTimeout
	}
	w.c.writeDeadline, w.c.handlerWriteDeadline = t, true
	return w.c.sock.SetWriteDeadline(t)
}

// EnableFullDuplex has no effect: the body may always be read while the response is written.
func (w *responseWriter) EnableFullDuplex() error { return nil }

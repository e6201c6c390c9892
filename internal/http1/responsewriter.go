package http1

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// response is a handler's answer on its way to the client. One goroutine uses it at a time. What is written waits in a lent block until it
// is flushed, is more than a block, or the handler returns; in between it holds no memory.
type responseWriter struct {
	c          *conn
	header     http.Header
	status     int          // 0 before WriteHeader
	isHEAD     bool         // the request was a HEAD
	http10     bool         // the client speaks HTTP/1.0
	closeAfter bool         // the connection ends with this answer
	body       *requestBody // that it answers; nil: of none that could be read

	block          *block
	buf            []byte // lent, or larger memory: the rest of the head, and frames
	framingDecided bool   // it is settled how the client knows the end
	framingAt      int    // in out, where the line that says so goes, while it is not
	chunked        bool
	noBody         bool  // there is no body
	contentLength  int64 // promised; -1: none
	written        int64 // of the body
	err            error // of a write to the client
}

// Header is what WriteHeader will send.
func (w *responseWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// UseHeader puts h in the place of Header, for a handler that has all of it already. h is the response's from then on.
func (w *responseWriter) UseHeader(h http.Header) { w.header = h }

// LimitsWrites says whether a client that does not take what is written is given up without the handler's doing.
func (w *responseWriter) LimitsWrites() bool { return w.c.server.WriteTimeout > 0 }

// WriteHeader settles status and header. Those of 1xx are not sent.
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

// appendFields writes the header but for what concerns the connection, which is the server's to say.
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

// appendField writes a header. What would end its line becomes a blank.
func appendSanitized(b []byte, name string, values []string) []byte {
	for _, v := range values {
		if !isFieldValue(v) {
			values = withoutControls(values)
			break
		}
	}
	return appendField(b, name, values)
}

// appendLines writes a header whose values have been looked at.
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

// settle writes the line that says where the body ends, and the head's end, in front of what waits of the body.
func (w *responseWriter) writeFraming(line string) {
	w.framingDecided = true
	w.buf = slices.Insert(w.buf, w.framingAt, append([]byte(line), "\r\n"...)...)
}

// settleOpen is settle where the body's length is not known.
func (w *responseWriter) frameUnknownLength() {
	body := len(w.buf) - w.framingAt
	switch {
	case w.http10: // the connection's end is the body's
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

// Write takes a part of the body.
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

// frameSize is what frames a part of the body: two line ends, and the digits of a size.
const maxChunkFrame = 2*2 + 16

// add puts a part of the body behind what waits, framed, or sends both.
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
	w.buf = append(w.buf, "\r\n"...) // goes out with what follows
	return nil
}

// fetch borrows memory, unless there is some.
func (w *responseWriter) ensureBuffer() {
	if w.buf == nil {
		w.block = w.c.server.pool.get()
		w.buf = w.block[:0]
	}
}

// send sends what waits, and p.
func (w *responseWriter) send(p []byte) error {
	if w.err == nil {
		w.err = w.c.write(w.buf, p)
	}
	w.releaseBuffer()
	return w.err
}

// drop gives the memory back.
func (w *responseWriter) releaseBuffer() {
	w.c.server.pool.put(w.block)
	w.block, w.buf = nil, nil
}

// FlushError sends what waits.
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

// Flush is FlushError for callers who do not ask.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// finish sends the rest when the handler has returned. An error says that the client has not got all that it was promised.
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
	w.err = errHandlerReturned // whoever outlives the handler must not write into the next answer
	return err
}

// writeContinue tells the client to send its body, unless it has an answer already.
func (w *responseWriter) writeContinue() error {
	if w.status != 0 {
		return nil
	}
	return w.c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"), nil)
}

// SetReadDeadline sets when reading the body fails. It may be called by any goroutine; after the handler has returned it does nothing.
func (w *responseWriter) SetReadDeadline(t time.Time) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.c.current != w {
		return http.ErrHandlerTimeout
	}
	return w.c.setReadDeadlineLocked(t)
}

// SetWriteDeadline sets when writing to the client fails, in the same way.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.c.current != w {
		return http.ErrHandlerTimeout
	}
	w.c.writeDeadline, w.c.handlerWriteDeadline = t, true
	return w.c.sock.SetWriteDeadline(t)
}

// EnableFullDuplex changes nothing: a body may always be read while the answer is written.
func (w *responseWriter) EnableFullDuplex() error { return nil }

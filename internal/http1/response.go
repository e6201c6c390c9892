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
type response struct {
	c       *conn
	header  http.Header
	status  int          // 0 before WriteHeader
	head    bool         // the request was a HEAD
	old     bool         // the client speaks HTTP/1.0
	last    bool         // the connection ends with this answer
	request *requestBody // that it answers; nil: of none that could be read

	block   *block
	out     []byte // lent, or larger memory: the rest of the head, and frames
	framed  bool   // it is settled how the client knows the end
	at      int    // in out, where the line that says so goes, while it is not
	chunked bool
	bare    bool  // there is no body
	length  int64 // promised; -1: none
	written int64 // of the body
	err     error // of a write to the client
}

// Header is what WriteHeader will send.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// UseHeader puts h in the place of Header, for a handler that has all of it already. h is the response's from then on.
func (w *response) UseHeader(h http.Header) { w.header = h }

// LimitsWrites says whether a client that does not take what is written is given up without the handler's doing.
func (w *response) LimitsWrites() bool { return w.c.server.WriteTimeout > 0 }

// WriteHeader settles status and header. Those of 1xx are not sent.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("http1: invalid status %d", status))
	}
	if w.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	w.bare = w.head || status == http.StatusNoContent || status == http.StatusNotModified
	w.block = w.c.server.mem.get()
	w.out = appendStatus(w.block[:0], status)
	w.out = w.appendFields(w.out)
	if w.last = w.last || w.c.server.isClosing() || w.request.broken(); w.last {
		w.out = append(w.out, "Connection: close\r\n"...)
	}
	w.at = len(w.out)
	if w.length >= 0 || w.bare {
		w.settle("")
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
func (w *response) appendFields(b []byte) []byte {
	dated := false
	for name, values := range w.header {
		switch name {
		case "Connection":
			w.last = w.last || lists(values, "close")
			continue
		case "Content-Length":
			n, ok := int64(0), false
			if len(values) > 0 {
				n, ok = parseLength(values[0])
			}
			if !ok || w.status == http.StatusNoContent {
				continue
			}
			w.length, values = n, values[:1]
		case "Date":
			dated = true
		default:
			if ownName(name) {
				continue
			}
		}
		if isToken(name) {
			b = appendField(b, name, values)
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
func appendField(b []byte, name string, values []string) []byte {
	for _, v := range values {
		if !isValue(v) {
			values = blanked(values)
			break
		}
	}
	return appendLines(b, name, values)
}

// appendLines writes a header whose values have been looked at.
func appendLines(b []byte, name string, values []string) []byte {
	for _, v := range values {
		b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
	}
	return b
}

func blanked(values []string) []string {
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
func (w *response) settle(line string) {
	w.framed = true
	w.out = slices.Insert(w.out, w.at, append([]byte(line), "\r\n"...)...)
}

// settleOpen is settle where the body's length is not known.
func (w *response) settleOpen() {
	body := len(w.out) - w.at
	switch {
	case w.old: // the connection's end is the body's
		line := "Connection: close\r\n"
		if w.last {
			line = ""
		}
		w.last = true
		w.settle(line)
	case body == 0:
		w.chunked = true
		w.settle("Transfer-Encoding: chunked\r\n")
	default:
		w.chunked = true
		w.settle("Transfer-Encoding: chunked\r\n\r\n" + strconv.FormatInt(int64(body), 16))
		w.out = append(w.out, "\r\n"...)
	}
}

// Write takes a part of the body.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case w.bare && w.head:
		return len(p), nil
	case w.bare:
		return 0, http.ErrBodyNotAllowed
	case len(p) == 0:
		return 0, nil
	case w.length >= 0 && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	w.fetch()
	if !w.framed && len(w.out)+len(p)+frameSize > blockSize {
		w.settleOpen()
	}
	return len(p), w.add(p)
}

// frameSize is what frames a part of the body: two line ends, and the digits of a size.
const frameSize = 2*2 + 16

// add puts a part of the body behind what waits, framed, or sends both.
func (w *response) add(p []byte) error {
	if w.framed && w.chunked {
		w.out = strconv.AppendInt(w.out, int64(len(p)), 16)
		w.out = append(w.out, "\r\n"...)
	}
	if len(w.out)+len(p)+frameSize <= blockSize {
		w.out = append(w.out, p...)
		if w.framed && w.chunked {
			w.out = append(w.out, "\r\n"...)
		}
		return nil
	}
	if err := w.send(p); err != nil || !w.chunked {
		return err
	}
	w.fetch()
	w.out = append(w.out, "\r\n"...) // goes out with what follows
	return nil
}

// fetch borrows memory, unless there is some.
func (w *response) fetch() {
	if w.out == nil {
		w.block = w.c.server.mem.get()
		w.out = w.block[:0]
	}
}

// send sends what waits, and p.
func (w *response) send(p []byte) error {
	if w.err == nil {
		w.err = w.c.write(w.out, p)
	}
	w.drop()
	return w.err
}

// drop gives the memory back.
func (w *response) drop() {
	w.c.server.mem.put(w.block)
	w.block, w.out = nil, nil
}

// FlushError sends what waits.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.framed {
		w.settleOpen()
	}
	if len(w.out) == 0 {
		return w.err
	}
	return w.send(nil)
}

// Flush is FlushError for callers who do not ask.
func (w *response) Flush() { _ = w.FlushError() }

// finish sends the rest when the handler has returned. An error says that the client has not got all that it was promised.
func (w *response) finish() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.framed {
		w.settle("Content-Length: " + strconv.Itoa(len(w.out)-w.at) + "\r\n")
	}
	if w.chunked {
		w.fetch()
		w.out = append(w.out, "0\r\n\r\n"...)
	}
	if len(w.out) > 0 {
		_ = w.send(nil)
	}
	err := w.err
	if err == nil && w.length >= 0 && w.written != w.length && !w.bare {
		err = http.ErrContentLength
	}
	w.err = errFinished // whoever outlives the handler must not write into the next answer
	return err
}

// writeContinue tells the client to send its body, unless it has an answer already.
func (w *response) writeContinue() error {
	if w.status != 0 {
		return nil
	}
	return w.c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"), nil)
}

// SetReadDeadline sets when reading the body fails. It may be called by any goroutine; after the handler has returned it does nothing.
func (w *response) SetReadDeadline(t time.Time) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.c.serving != w {
		return http.ErrHandlerTimeout
	}
	return w.c.readBy(t)
}

// SetWriteDeadline sets when writing to the client fails, in the same way.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.c.serving != w {
		return http.ErrHandlerTimeout
	}
	w.c.writeBy, w.c.granted = t, true
	return w.c.net.SetWriteDeadline(t)
}

// EnableFullDuplex changes nothing: a body may always be read while the answer is written.
func (w *response) EnableFullDuplex() error { return nil }

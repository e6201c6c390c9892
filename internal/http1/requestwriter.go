package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

const (
	// A body of at most maxSingleWrite bytes is written together with the header in one call, which
	// every socket buffer takes. A larger body is sent by a goroutine while the response is
	// awaited, because a server may respond before it has read the whole request.
	maxSingleWrite = 16 << 10
	copyBufferSize = 32 << 10
)

// requestWriter sends one request.
type requestWriter struct {
	conn   *clientConn
	body   io.ReadCloser // nil: none
	length int64         // -1: unknown, sent in chunks
	header []byte        // not sent yet
	sent   int64         // bytes of the body
	done   chan struct{} // closed when the request has been sent, or has failed; nil: start has sent it
	// nothingWritten means that the socket accepted no byte of a request that was sent in one
	// write.
	nothingWritten bool
	once           sync.Once // closes the body

	mu       sync.Mutex
	writeErr error // of a write to the connection
	bodyErr  error // of reading the body
}

// newRequestWriter prepares to send r.
func (c *clientConn) newRequestWriter(r *http.Request) *requestWriter {
	s := &requestWriter{conn: c, body: r.Body, length: r.ContentLength}
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		s.body, s.length = nil, 0
	case r.ContentLength <= 0: // net/http uses 0 with a body for an unknown length
		s.length = -1
	}
	return s
}

// start starts to send a request. It closes the body when the request has been sent. It returns no
// error, because a response may arrive in spite of one: see bodyError and isComplete.
func (s *requestWriter) start(r *http.Request) {
	c := s.conn
	buf := c.transport.pool.get()
	header := s.appendHeader(buf[:0], r)
	if s.length < 0 || s.length > maxSingleWrite {
		s.header, s.done = header, make(chan struct{})
		go func() {
			defer c.transport.pool.put(buf)
			s.writeAll()
		}()
		return
	}
	defer c.transport.pool.put(buf)
	if s.body != nil {
		defer s.closeBody()
		whole, err := appendWholeBody(header, s.body, s.length)
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.bodyErr = err
			return
		}
		header = whole
	}
	n, err := c.sock.Write(header)
	s.writeErr, s.nothingWritten = err, n == 0
}

// abort closes the connection. This also ends a write in progress and any reader of the response.
func (s *requestWriter) abort() {
	s.conn.sock.Close()
	s.closeBody()
}

func (s *requestWriter) closeBody() {
	if s.body != nil {
		s.once.Do(func() { s.body.Close() })
	}
}

// appendWholeBody reads a body of known length.
func appendWholeBody(b []byte, body io.Reader, length int64) ([]byte, error) {
	begin := len(b)
	end := begin + int(length)
	if end > cap(b) {
		b = append(make([]byte, 0, end), b...)
	}
	n, err := io.ReadFull(body, b[begin:end])
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, wrongLength(length, int64(n))
	case err != nil:
		return nil, err
	}
	var more [1]byte
	if n, _ := body.Read(more[:]); n > 0 {
		return nil, wrongLength(length, length+1)
	}
	return b[:end], nil
}

func wrongLength(declared, got int64) error {
	return fmt.Errorf("http1: a body of at least %d bytes, but %d were declared", got, declared)
}

// appendHeader writes the request header. Its parts have been checked by checkRequest.
func (s *requestWriter) appendHeader(b []byte, r *http.Request) []byte {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	b = append(append(b, method...), ' ')
	b = append(b, r.URL.RequestURI()...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(append(b, hostOf(r)...), "\r\n"...)
	for name, values := range r.Header {
		if !isManagedField(name) {
			b = appendField(b, name, values)
		}
	}
	switch {
	case r.Close:
		b = append(b, "Connection: close\r\n"...)
		fallthrough
	default:
		return s.appendFraming(b, method)
	}
}

// appendFraming writes the fields that frame the body. For methods that usually have a body,
// Content-Length is sent even if it is 0.
func (s *requestWriter) appendFraming(b []byte, method string) []byte {
	switch {
	case s.length < 0:
		return append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
	case s.length > 0, method == http.MethodPost, method == http.MethodPut, method == http.MethodPatch:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, s.length, 10), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// writeAll sends the header and the body.
func (s *requestWriter) writeAll() {
	defer close(s.done)
	defer s.closeBody()
	var broken, err error
	if whole, ok := s.body.(io.WriterTo); ok && s.length > 0 {
		_, broken = whole.WriteTo(s)
	} else {
		broken = s.copyBody()
	}
	s.mu.Lock()
	if err = s.writeErr; err == nil && broken == nil && s.length >= 0 && s.sent != s.length {
		broken = wrongLength(s.length, s.sent)
	}
	if err == nil {
		s.bodyErr = broken
	}
	s.mu.Unlock()
	switch {
	case err != nil: // the reader of the response gets the error of the connection
	case broken != nil:
		s.conn.sock.Close()
	case s.length < 0:
		s.write([]byte("0\r\n\r\n"), nil)
	}
}

// copyBody sends the body as it is read.
func (s *requestWriter) copyBody() error {
	buf := make([]byte, copyBufferSize)
	for {
		n, err := s.body.Read(buf)
		if n > 0 {
			if _, err := s.Write(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Write sends a part of the body. It implements io.Writer for bodies with a WriteTo method.
func (s *requestWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.sent += int64(len(p))
	if s.length >= 0 && s.sent > s.length {
		return 0, wrongLength(s.length, s.sent)
	}
	if s.length >= 0 {
		return len(p), s.write(p, nil)
	}
	s.header = append(strconv.AppendInt(s.header, int64(len(p)), 16), "\r\n"...)
	return len(p), s.write(p, []byte("\r\n"))
}

// write sends the unsent header, p and q.
func (s *requestWriter) write(p, q []byte) error {
	_, err := s.conn.sock.WriteTogether(s.header, p, q)
	s.header = s.header[:0]
	if err != nil {
		s.mu.Lock()
		s.writeErr = err
		s.mu.Unlock()
	}
	return err
}

// bodyError returns the error of reading the body. If it is not nil, the request has not been sent
// completely.
func (s *requestWriter) bodyError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodyErr
}

// nothingSent reports whether the socket accepted no byte of the request. It is false while this is
// not known.
func (s *requestWriter) nothingSent() bool {
	return s.done == nil && s.writeErr != nil && s.nothingWritten
}

// isComplete reports whether the whole request has been sent.
func (s *requestWriter) isComplete() bool {
	if s.done != nil {
		select {
		case <-s.done:
		default:
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeErr == nil && s.bodyErr == nil
}

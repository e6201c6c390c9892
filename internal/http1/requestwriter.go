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
	// A body of at most this size goes out in one write with the head, which every socket buffer takes. A longer one is sent while the
	// answer is awaited: an upstream may answer before it has read all.
	maxSingleWrite = 16 << 10
	copyBufferSize = 32 << 10
)

// sending is a request on its way.
type requestWriter struct {
	conn   *clientConn
	body   io.ReadCloser // nil: none
	length int64         // -1: in chunks
	header []byte        // not sent yet
	sent   int64         // of the body
	done   chan struct{} // closed when all is sent, or cannot be; nil: sent at once
	// untouched says that the connection took nothing of what was sent at once.
	nothingWritten bool
	once           sync.Once // closes the body

	mu       sync.Mutex
	writeErr error // of a write
	bodyErr  error // of the body
}

// sending is what is to be known before a request is sent.
func (c *clientConn) newRequestWriter(r *http.Request) *requestWriter {
	s := &requestWriter{conn: c, body: r.Body, length: r.ContentLength}
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		s.body, s.length = nil, 0
	case r.ContentLength <= 0: // net/http's word for a length that is not known
		s.length = -1
	}
	return s
}

// begin begins to send a request, and closes its body when it has been sent. What went wrong, failure and complete tell: an answer may have come all the same.
func (s *requestWriter) start(r *http.Request) {
	c := s.conn
	room := c.transport.pool.get()
	head := s.appendHeader(room[:0], r)
	if s.length < 0 || s.length > maxSingleWrite {
		s.header, s.done = head, make(chan struct{})
		go func() {
			defer c.transport.pool.put(room)
			s.writeAll()
		}()
		return
	}
	defer c.transport.pool.put(room)
	if s.body != nil {
		defer s.closeBody()
		whole, err := appendWholeBody(head, s.body, s.length)
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.bodyErr = err
			return
		}
		head = whole
	}
	n, err := c.sock.Write(head)
	s.writeErr, s.nothingWritten = err, n == 0
}

// breakOff ends the connection, and with it all that is still sent: whoever waits for more of the body learns of it as well.
func (s *requestWriter) abort() {
	s.conn.sock.Close()
	s.closeBody()
}

func (s *requestWriter) closeBody() {
	if s.body != nil {
		s.once.Do(func() { s.body.Close() })
	}
}

// appendBody reads a body of a known length.
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

func wrongLength(told, got int64) error {
	return fmt.Errorf("http1: a body of %d bytes or more where %d were told", got, told)
}

// appendHead writes the request's head. Its parts have been checked.
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

// appendFraming says how long the body is. Methods that usually have one say so too where there is none.
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

// run sends head and body.
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
	case err != nil: // whoever reads the answer sees what became of the connection
	case broken != nil:
		s.conn.sock.Close()
	case s.length < 0:
		s.write([]byte("0\r\n\r\n"), nil)
	}
}

// copy sends the body as it comes.
func (s *requestWriter) copyBody() error {
	room := make([]byte, copyBufferSize)
	for {
		n, err := s.body.Read(room)
		if n > 0 {
			if _, err := s.Write(room[:n]); err != nil {
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

// Write sends a part of the body.
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

// write sends what waits of the head, and two pieces.
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

// failure is what was wrong with the body: then the request has not been sent.
func (s *requestWriter) bodyError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodyErr
}

// refused says whether the connection took nothing of the request, as far as is known at once.
func (s *requestWriter) nothingSent() bool {
	return s.done == nil && s.writeErr != nil && s.nothingWritten
}

// complete says whether all has been sent.
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

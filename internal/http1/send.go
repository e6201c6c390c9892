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
	oneWrite = 16 << 10
	copySize = 32 << 10
)

// sending is a request on its way.
type sending struct {
	c      *client
	body   io.ReadCloser // nil: none
	length int64         // -1: in chunks
	head   []byte        // not sent yet
	sent   int64         // of the body
	done   chan struct{} // closed when all is sent, or cannot be; nil: sent at once
	// untouched says that the connection took nothing of what was sent at once.
	untouched bool
	once      sync.Once // closes the body

	mu     sync.Mutex
	err    error // of a write
	broken error // of the body
}

// sending is what is to be known before a request is sent.
func (c *client) sending(r *http.Request) *sending {
	s := &sending{c: c, body: r.Body, length: r.ContentLength}
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		s.body, s.length = nil, 0
	case r.ContentLength <= 0: // net/http's word for a length that is not known
		s.length = -1
	}
	return s
}

// begin begins to send a request, and closes its body when it has been sent. What went wrong, failure and complete tell: an answer may have come all the same.
func (s *sending) begin(r *http.Request) {
	c := s.c
	room := c.t.mem.get()
	head := s.appendHead(room[:0], r)
	if s.length < 0 || s.length > oneWrite {
		s.head, s.done = head, make(chan struct{})
		go func() {
			defer c.t.mem.put(room)
			s.run()
		}()
		return
	}
	defer c.t.mem.put(room)
	if s.body != nil {
		defer s.closeBody()
		whole, err := appendBody(head, s.body, s.length)
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.broken = err
			return
		}
		head = whole
	}
	n, err := c.net.Write(head)
	s.err, s.untouched = err, n == 0
}

// breakOff ends the connection, and with it all that is still sent: whoever waits for more of the body learns of it as well.
func (s *sending) breakOff() {
	s.c.net.Close()
	s.closeBody()
}

func (s *sending) closeBody() {
	if s.body != nil {
		s.once.Do(func() { s.body.Close() })
	}
}

// appendBody reads a body of a known length.
func appendBody(b []byte, body io.Reader, length int64) ([]byte, error) {
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
func (s *sending) appendHead(b []byte, r *http.Request) []byte {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	b = append(append(b, method...), ' ')
	b = append(b, r.URL.RequestURI()...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(append(b, hostOf(r)...), "\r\n"...)
	for name, values := range r.Header {
		if !ownName(name) {
			b = appendLines(b, name, values)
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
func (s *sending) appendFraming(b []byte, method string) []byte {
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
func (s *sending) run() {
	defer close(s.done)
	defer s.closeBody()
	var broken, err error
	if whole, ok := s.body.(io.WriterTo); ok && s.length > 0 {
		_, broken = whole.WriteTo(s)
	} else {
		broken = s.copy()
	}
	s.mu.Lock()
	if err = s.err; err == nil && broken == nil && s.length >= 0 && s.sent != s.length {
		broken = wrongLength(s.length, s.sent)
	}
	if err == nil {
		s.broken = broken
	}
	s.mu.Unlock()
	switch {
	case err != nil: // whoever reads the answer sees what became of the connection
	case broken != nil:
		s.c.net.Close()
	case s.length < 0:
		s.write([]byte("0\r\n\r\n"), nil)
	}
}

// copy sends the body as it comes.
func (s *sending) copy() error {
	room := make([]byte, copySize)
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
func (s *sending) Write(p []byte) (int, error) {
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
	s.head = append(strconv.AppendInt(s.head, int64(len(p)), 16), "\r\n"...)
	return len(p), s.write(p, []byte("\r\n"))
}

// write sends what waits of the head, and two pieces.
func (s *sending) write(p, q []byte) error {
	_, err := s.c.net.WriteTogether(s.head, p, q)
	s.head = s.head[:0]
	if err != nil {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return err
}

// failure is what was wrong with the body: then the request has not been sent.
func (s *sending) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// refused says whether the connection took nothing of the request, as far as is known at once.
func (s *sending) refused() bool { return s.done == nil && s.err != nil && s.untouched }

// complete says whether all has been sent.
func (s *sending) complete() bool {
	if s.done != nil {
		select {
		case <-s.done:
		default:
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil && s.broken == nil
}

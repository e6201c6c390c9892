package edge

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	// lingering is how long a client that was refused may go on sending before the connection is
	// reset, and lingered how much.
	lingering = 500 * time.Millisecond
	lingered  = 1 << 20
)

// checked is a connection whose first byte shows whether the client speaks the right protocol. A
// client that does not gets an error that says so; net/http has such an answer only for some of
// them.
type checked struct {
	net.Conn
	wrong  func(first byte) bool
	refuse func(*checked)
	begun  bool
}

// Read implements net.Conn.
func (c *checked) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.begun || n == 0 {
		return n, err
	}
	c.begun = true
	if !c.wrong(p[0]) {
		return n, err
	}
	c.refuse(c)
	return 0, io.EOF
}

// CloseWrite ends the sending, and with it the whole connection if that cannot be done alone.
func (c *checked) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// isPlainHTTP reports whether a connection begins with a method. No record of TLS does.
func isPlainHTTP(first byte) bool { return 'A' <= first && first <= 'Z' }

// isTLS reports whether a connection begins with a record of TLS: an alert or a handshake.
func isTLS(first byte) bool { return first == 0x15 || first == 0x16 }

// refusePlainHTTP answers a client that speaks plain HTTP to a listener with a certificate.
func (s *Server) refusePlainHTTP(c *checked) {
	s.wrongScheme(telemetry.PlainOnTLS, c.RemoteAddr().String())
	e := claude.Error{Type: claude.ErrInvalidRequest, Message: "Client sent an HTTP request to an HTTPS server: use https:// instead.", RequestID: newRequestID()}
	c.answer(e.AppendJSON(nil))
}

// answer sends a response with status 400, and reads on for a moment, so that the response is not
// lost with a reset.
func (c *checked) answer(body []byte) {
	var out bytes.Buffer
	out.WriteString("HTTP/1.1 " + strconv.Itoa(http.StatusBadRequest) + " Bad Request\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n")
	out.Write(body)
	if _, err := c.Write(out.Bytes()); err != nil || c.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.CopyN(io.Discard, c.Conn, lingered)
}

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
	lingerTime     = 500 * time.Millisecond
	maxLingerBytes = 1 << 20
)

// checked is a connection whose first byte shows whether the client speaks the right protocol. A
// client that does not gets an error that says so; net/http has such an answer only for some of
// them.
type sniffedConn struct {
	net.Conn
	isWrong func(first byte) bool
	refuse  func(*sniffedConn)
	sniffed bool
}

// Read implements net.Conn.
func (c *sniffedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.sniffed || n == 0 {
		return n, err
	}
	c.sniffed = true
	if !c.isWrong(p[0]) {
		return n, err
	}
	c.refuse(c)
	return 0, io.EOF
}

// CloseWrite ends the sending, and with it the whole connection if that cannot be done alone.
func (c *sniffedConn) CloseWrite() error {
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
func (s *Server) refusePlainHTTP(c *sniffedConn) {
	s.logWrongProtocol(telemetry.PlainOnTLS, c.RemoteAddr().String())
	e := claude.Error{Type: claude.ErrInvalidRequest, Message: "Client sent an HTTP request to an HTTPS server: use https:// instead.", RequestID: newRequestID()}
	c.sendError(e.AppendJSON(nil))
}

// answer sends a response with status 400, and reads on for a moment, so that the response is not
// lost with a reset.
func (c *sniffedConn) sendError(body []byte) {
	var out bytes.Buffer
	out.WriteString("HTTP/1.1 " + strconv.Itoa(http.StatusBadRequest) + " Bad Request\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n")
	out.Write(body)
	if _, err := c.Write(out.Bytes()); err != nil || c.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.Conn, maxLingerBytes)
}

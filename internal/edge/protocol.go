package edge

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/http1"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// sniffedConn is a connection whose first byte shows whether the client speaks the right protocol.
// If it does not, the client gets an explanation. net/http has such a response only for some cases.
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

// CloseWrite closes the sending half, or the whole connection if that is not possible.
func (c *sniffedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// isPlainHTTP reports whether first can start an HTTP method. No TLS record starts like that.
func isPlainHTTP(first byte) bool { return 'A' <= first && first <= 'Z' }

// refusePlainHTTP responds to a client that speaks plain HTTP to a listener with a certificate.
func (s *Server) refusePlainHTTP(c *sniffedConn) {
	s.logWrongProtocol(telemetry.PlainOnTLS, c.RemoteAddr().String())
	e := claude.Error{Type: claude.ErrInvalidRequest, Message: "Client sent an HTTP request to an HTTPS server: use https:// instead.", RequestID: newRequestID()}
	c.sendError(e.AppendJSON(nil))
}

// refuseTLS responds to a client that speaks TLS to a listener without a certificate.
func (s *Server) refuseTLS(c *sniffedConn) {
	s.logWrongProtocol(telemetry.TLSOnPlain, c.RemoteAddr().String())
	_, body := refusal(http.StatusBadRequest, http1.TLSOnPlainPort)
	c.sendError(body)
}

// sendError sends a response with status 400, and keeps reading for a moment, so that a reset does
// not destroy the response.
func (c *sniffedConn) sendError(body []byte) {
	var out bytes.Buffer
	out.WriteString("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n")
	out.Write(body)
	if _, err := c.Write(out.Bytes()); err != nil || c.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(http1.LingerTime))
	_, _ = io.CopyN(io.Discard, c.Conn, http1.MaxLingerBytes)
}

package edge

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"time"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/socket"
)

const (
	// lingering is how long a client that was refused may go on sending before the connection is reset, and lingered how much.
	lingering = 500 * time.Millisecond
	lingered  = 1 << 20
)

// expectTLS is a connection that should begin with a TLS handshake. To a client that begins with plain HTTP it answers with an error that
// says so, whatever the method; net/http has an answer for some of them.
type expectTLS struct {
	*socket.Conn
	plain func(remote string)
	begun bool
}

// Read implements net.Conn.
func (c *expectTLS) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.begun || n == 0 {
		return n, err
	}
	c.begun = true
	if first := p[0]; first < 'A' || first > 'Z' { // which no record of TLS begins with
		return n, err
	}
	c.plain(c.RemoteAddr().String())
	c.refuse()
	return 0, io.EOF
}

// refuse answers, and reads on for a moment, so that the answer is not lost with a reset.
func (c *expectTLS) refuse() {
	e := claude.Error{Type: claude.ErrInvalidRequest, Message: "Client sent an HTTP request to an HTTPS server: use https:// instead.", RequestID: newRequestID()}
	body := e.AppendJSON(nil)
	var out bytes.Buffer
	out.WriteString("HTTP/1.1 " + strconv.Itoa(http.StatusBadRequest) + " Bad Request\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n")
	out.Write(body)
	if _, err := c.Write(out.Bytes()); err != nil || c.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.CopyN(io.Discard, c.Conn, lingered)
}

package fakeclaude

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// wire writes to the client. It flushes every piece, and for faults it compresses the body, sends
// it slowly, or breaks the connection.
type wire struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	clock Clock

	encoder encoder // nil: uncompressed
	encoded bytes.Buffer
	coding  string        // of encoder, as in Content-Encoding
	piece   int           // bytes per piece of a trickle; 0: everything at once
	pause   time.Duration // between pieces
}

// errAbort asks for http.ErrAbortHandler: the response has to end without its regular end, and the
// connection cannot be hijacked (HTTP/2).
var errAbort = errors.New("abort the connection")

func newWire(w http.ResponseWriter, clock Clock) *wire {
	return &wire{w: w, rc: http.NewResponseController(w), clock: clock}
}

// send writes and flushes p.
func (x *wire) send(ctx context.Context, p []byte) error {
	if x.encoder != nil {
		if _, err := x.encoder.Write(p); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
		if err := x.encoder.Flush(); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
		p = x.encoded.Bytes()
		defer x.encoded.Reset()
	}
	if x.piece == 0 {
		return x.push(p)
	}
	for len(p) > 0 {
		n := min(x.piece, len(p))
		if err := x.push(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if err := x.clock.Sleep(ctx, x.pause); err != nil {
			return err
		}
	}
	return nil
}

func (x *wire) push(p []byte) error {
	if _, err := x.w.Write(p); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return x.flush()
}

func (x *wire) flush() error {
	if err := x.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// finish writes the end of a compressed body.
func (x *wire) finish() error {
	if x.encoder == nil {
		return nil
	}
	if err := x.encoder.Close(); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return x.push(x.encoded.Bytes())
}

// breakConnection closes the connection before the end of the response, with or without a TCP
// reset. It returns errAbort if only package net/http can do it.
func (x *wire) breakConnection(reset bool) error {
	conn, _, err := x.rc.Hijack()
	if err != nil {
		return errAbort
	}
	defer conn.Close()
	if !reset {
		return nil
	}
	inner := conn
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		inner = secure.NetConn() // a TLS connection would send close_notify first
		defer inner.Close()
	}
	if tcp, ok := inner.(*net.TCPConn); ok {
		drain(tcp)
		if err := tcp.SetLinger(0); err != nil {
			return fmt.Errorf("reset: %w", err)
		}
		return tcp.Close()
	}
	return nil
}

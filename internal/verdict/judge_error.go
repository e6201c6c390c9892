package verdict

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"syscall"

	"github.com/9bingyin/claude-code-lb/internal/http1"
)

// judgeErr classifies an attempt without a response, or with a broken one.
func judgeErr(err error) Outcome {
	switch {
	case errors.Is(err, ErrStopping):
		return Outcome{Scope: ScopeClient, Reason: ErrStopping.Error()}
	case errors.Is(err, ErrOutrun):
		return Outcome{Scope: ScopeClient, Reason: ErrOutrun.Error()}
	case errors.Is(err, ErrClientGone), errors.Is(err, context.Canceled):
		return Outcome{Scope: ScopeClient, Reason: ErrClientGone.Error()}
	case http1.OutOfDescriptors(err):
		return Outcome{Scope: ScopeBalancer, Reason: "no file descriptors left", Unbilled: true}
	}
	o := Outcome{Scope: ScopeEndpoint}
	if timeout, ok := errors.AsType[*TimeoutError](err); ok {
		o.Reason, o.Cause = timeout.Error(), CauseTimeout
	} else if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect") {
		o.Reason, o.Unbilled, o.Connection, o.Cause = "connect: "+cause(op.Err), true, true, causeOfDial(op.Err)
	} else if failed := handshake(err); failed != nil {
		o.Reason, o.Unbilled, o.Connection, o.Cause = "TLS: "+plain(failed.Error()), true, true, CauseTLS
	} else if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		o.Reason = "malformed header" // its text contains the header
	} else {
		o.Reason, o.Connection = cause(err), closedByPeer(err)
	}
	return o
}

// closedByPeer reports whether a connection was closed or reset by the other side.
func closedByPeer(err error) bool {
	for _, each := range [...]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, each) {
			return true
		}
	}
	return false
}

// causeOfDial classifies failed connections.
func causeOfDial(err error) Cause {
	var timeout interface{ Timeout() bool }
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return CauseName
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseRefused
	case errors.As(err, &timeout) && timeout.Timeout():
		return CauseTimeout
	}
	return CauseOther
}

// cause describes an error without the addresses that package net adds, because clients see it.
func cause(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return plain("name lookup: " + dns.Err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Op + ": " + plain(op.Err.Error())
	}
	return plain(err.Error())
}

// handshake returns the error of a failed TLS handshake, in which case nothing was sent; nil for
// other errors.
func handshake(err error) error {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return e
	}
	if e, ok := errors.AsType[tls.AlertError](err); ok {
		return e
	}
	// The Transport's time-out error has no type.
	if errors.Is(err, http.ErrSchemeMismatch) || err.Error() == "net/http: TLS handshake timeout" {
		return err
	}
	return nil
}

// plain makes the text of an error fit for logs: printable, of bounded length, and cut before the
// first quote. Quoted text comes from outside: a line of an upstream, a proxy's address with its
// password.
func plain(text string) string {
	const longest = 160
	text, _, _ = strings.Cut(text, `"`)
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text[:min(len(text), longest)])
	return strings.TrimRight(text, " :")
}

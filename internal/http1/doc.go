// Package http1 implements HTTP/1.1 (RFC 9112) over plain connections, behind the types of
// net/http: a Server calls an http.Handler, a Transport is an http.RoundTripper.
//
// Most of the CPU time and memory that net/http spends on relaying long streams goes to goroutines
// that hand bytes to each other, and to buffers that are held while nothing arrives. Here one
// goroutine serves a client's connection, the goroutine that calls RoundTrip sends the request and
// reads the response, and no buffer is held while a connection waits for bytes.
//
// The server is stricter than net/http if two implementations could read the same bytes as two
// different messages. It refuses, and ends the connection, for: both Content-Length and
// Transfer-Encoding, a repeated Content-Length, lines that end in a bare LF, folded lines, and
// bytes that are not allowed in a name, value or target. Responses of upstreams may have bare line
// ends. The transport reads ambiguous responses as net/http does, and does not reuse their
// connections.
//
// TLS, HTTP/2, proxies and upgrades are left to net/http.
package http1

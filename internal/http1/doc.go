// Package http1 speaks HTTP/1.1 (RFC 9112) over plain connections behind net/http's own types: a Server calls an
// http.Handler, a Transport is an http.RoundTripper. A relay of long streams spends most of net/http's share of CPU and memory
// on goroutines that hand bytes to each other and on buffers that wait with them. Here one goroutine serves a connection, one sends a
// request and reads its answer, and no buffer is held while nothing comes.
//
// It is stricter than net/http where two readers of the same bytes could see two different messages: a request with
// both Content-Length and Transfer-Encoding, a length said twice, lines that end in a bare LF, folded lines, bytes that belong in no
// name, value or target are refused, and the connection ends. From upstreams, line ends may be bare, and what is
// doubtful is read as net/http does, on a connection that is not used again.
//
// Left to net/http: TLS, HTTP/2, proxies, upgrades.
package http1

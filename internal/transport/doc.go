// Package transport carries requests to one endpoint: connection pools for HTTP/1.1 and HTTP/2, one
// repetition when a kept connection turns out to be closed, the credential in the header, and the
// marks that detect loops. It does not know the state of endpoints.
package transport

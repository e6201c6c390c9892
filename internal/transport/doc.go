// Package transport carries requests to one endpoint: connection pools for HTTP/1.1 and HTTP/2, one repeat when a kept
// connection turns out to be closed, the credential in the header, and the marks that detect loops. It knows nothing
// about the state of endpoints.
package transport

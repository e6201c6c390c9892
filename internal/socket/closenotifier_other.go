//go:build !linux || !(amd64 || arm64) || race

package socket

// CloseNotifier is not available on this platform. Callers have to read to notice that a connection
// has ended.
type CloseNotifier struct{}

// Watch returns false: the connection cannot be watched.
func (*CloseNotifier) Watch(*Conn, func(id int64)) (id int64, ok bool) { return 0, false }

// Stop has no effect.
func (*CloseNotifier) Stop(int64) {}

// Close has no effect.
func (*CloseNotifier) Close() {}

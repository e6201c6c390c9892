//go:build !linux || !(amd64 || arm64) || race

package socket

// CloseNotifier cannot tell here of connections that their other sides end: somebody has to read.
type CloseNotifier struct{}

// Watch reports that nobody can tell.
func (*CloseNotifier) Watch(*Conn, func(id int64)) (id int64, ok bool) { return 0, false }

// Stop has nothing to end.
func (*CloseNotifier) Stop(int64) {}

// Close has nothing to close.
func (*CloseNotifier) Close() {}

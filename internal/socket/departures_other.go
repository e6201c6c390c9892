//go:build !linux || !(amd64 || arm64) || race

package socket

// Departures cannot tell here of connections that their other sides end: somebody has to read.
type Departures struct{}

// Watch reports that nobody can tell.
func (*Departures) Watch(*Conn, func(id int64)) (id int64, ok bool) { return 0, false }

// Stop has nothing to end.
func (*Departures) Stop(int64) {}

// Close has nothing to close.
func (*Departures) Close() {}

//go:build !linux || !(amd64 || arm64) || race

package socket

import "testing"

func TestDepartures(t *testing.T) {
	var d CloseNotifier
	defer d.Close()
	near, _ := tcpPair(t)
	if id, ok := d.Watch(New(near), func(int64) {}); ok || id != 0 {
		t.Error("who cannot tell says that he can")
	}
	d.Stop(1)
}

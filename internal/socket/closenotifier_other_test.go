//go:build !linux || !(amd64 || arm64) || race

package socket

import "testing"

func TestCloseNotifier(t *testing.T) {
	var d CloseNotifier
	defer d.Close()
	near, _ := tcpPair(t)
	if id, ok := d.Watch(New(near), func(int64) {}); ok || id != 0 {
		t.Error("Watch succeeded on a platform without epoll")
	}
	d.Stop(1)
}

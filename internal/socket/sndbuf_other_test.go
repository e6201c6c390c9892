//go:build !unix

package socket

// smallBuffers has no effect on this platform.
func smallBuffers(uintptr) {}

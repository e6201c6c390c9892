//go:build !unix

package socket

// little leaves the buffers of a socket as they are.
func little(uintptr) {}

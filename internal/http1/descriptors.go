package http1

import (
	"errors"
	"net"
	"strings"
	"syscall"
)

// OutOfDescriptors reports whether a connection could not be made or accepted because the process
// or the system has no file descriptors left. That is not a fault of the peer.
func OutOfDescriptors(err error) bool {
	for _, errno := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, errno) {
			return true
		}
		// A failed name lookup keeps only the text of its cause.
		if dns, ok := errors.AsType[*net.DNSError](err); ok && strings.HasSuffix(dns.Err, errno.Error()) {
			return true
		}
	}
	return false
}

package http1

import (
	"errors"
	"net"
	"strings"
	"syscall"
)

// Exhausted says whether a connection could not be made or accepted because this process, or the machine, has no file
// descriptors left: that is no fault of the other side.
func OutOfDescriptors(err error) bool {
	for _, errno := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, errno) {
			return true
		}
		// A failed name lookup keeps no more than the text of its cause.
		if dns, ok := errors.AsType[*net.DNSError](err); ok && strings.HasSuffix(dns.Err, errno.Error()) {
			return true
		}
	}
	return false
}

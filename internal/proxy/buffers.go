package proxy

import "sync"

// buffers lends memory for relaying responses, in two sizes.
type buffers struct{ small, large sync.Pool }

// relayBuffer is a borrowed buffer: one of the two.
type relayBuffer struct {
	from  *buffers
	small *[smallBuffer]byte
	large *[largeBuffer]byte
}

// get returns a buffer for more than n bytes, or the large one.
func (b *buffers) get(n int) *relayBuffer {
	r := &relayBuffer{from: b}
	if n < smallBuffer {
		if r.small, _ = b.small.Get().(*[smallBuffer]byte); r.small == nil {
			r.small = new([smallBuffer]byte)
		}
		return r
	}
	r.enlarge()
	return r
}

func (r *relayBuffer) enlarge() {
	if r.large, _ = r.from.large.Get().(*[largeBuffer]byte); r.large == nil {
		r.large = new([largeBuffer]byte)
	}
}

func (r *relayBuffer) bytes() []byte {
	if r.large != nil {
		return r.large[:]
	}
	return r.small[:]
}

// grow replaces a small buffer by a large one and copies the first n bytes of its content.
func (r *relayBuffer) grow(n int) []byte {
	if r.large == nil {
		r.enlarge()
		copy(r.large[:], r.small[:n])
		r.from.small.Put(r.small)
		r.small = nil
	}
	return r.large[:]
}

func (r *relayBuffer) release() {
	if r.large != nil {
		r.from.large.Put(r.large)
	} else {
		r.from.small.Put(r.small)
	}
}

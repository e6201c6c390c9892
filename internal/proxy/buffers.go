package proxy

import "sync"

// buffers lends memory to answers that are relayed, in two sizes.
type buffers struct{ small, large sync.Pool }

// room is a borrowed buffer: one of the two.
type room struct {
	from  *buffers
	small *[smallBuffer]byte
	large *[relayBuffer]byte
}

// borrow takes a buffer that holds more than n bytes, or the largest there is.
func (b *buffers) borrow(n int) *room {
	r := &room{from: b}
	if n < smallBuffer {
		if r.small, _ = b.small.Get().(*[smallBuffer]byte); r.small == nil {
			r.small = new([smallBuffer]byte)
		}
		return r
	}
	r.enlarge()
	return r
}

func (r *room) enlarge() {
	if r.large, _ = r.from.large.Get().(*[relayBuffer]byte); r.large == nil {
		r.large = new([relayBuffer]byte)
	}
}

func (r *room) bytes() []byte {
	if r.large != nil {
		return r.large[:]
	}
	return r.small[:]
}

// grow exchanges a small buffer for a large one, with the first n bytes of its content.
func (r *room) grow(n int) []byte {
	if r.large == nil {
		r.enlarge()
		copy(r.large[:], r.small[:n])
		r.from.small.Put(r.small)
		r.small = nil
	}
	return r.large[:]
}

func (r *room) giveBack() {
	if r.large != nil {
		r.from.large.Put(r.large)
	} else {
		r.from.small.Put(r.small)
	}
}

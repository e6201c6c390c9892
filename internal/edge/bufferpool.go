package edge

import (
	"math/bits"
	"sync"
)

// bufferPool pools buffers by size class, so that large buffers need not be cleared and collected
// for every request. Safe for concurrent use.
type bufferPool struct {
	classes [classes]sync.Pool // of *[]byte; each class is four times as large as the one before
}

const (
	classes       = 6
	smallestClass = 12 // bits: 4 KB
)

// classOf returns the class for a size, or classes if the size is larger than all.
func classOf(n int64) int {
	if n <= 1<<smallestClass {
		return 0
	}
	return min((bits.Len64(uint64(n-1))-smallestClass+1)/2, classes)
}

// take returns a pooled buffer of at least n bytes, at most four times as large, or nil.
func (m *bufferPool) take(n int64) []byte {
	class := classOf(n)
	if class == classes {
		return nil
	}
	kept, ok := m.classes[class].Get().(*[]byte)
	if !ok {
		return nil
	}
	if int64(cap(*kept)) < n {
		m.classes[class].Put(kept)
		return nil
	}
	return (*kept)[:0]
}

// put returns a buffer to the pool. The caller must not use it afterwards.
func (m *bufferPool) put(b []byte) {
	if class := classOf(int64(cap(b))); class < classes && cap(b) > 0 {
		m.classes[class].Put(&b)
	}
}

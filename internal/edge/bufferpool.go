package edge

import (
	"math/bits"
	"sync"
)

// memory pools the memory of bodies by size, so that large buffers need not be cleared and
// collected for every request. Safe for concurrent use.
type bufferPool struct {
	classes [classes]sync.Pool // of *[]byte; each class is four times as large as the one before
}

const (
	classes       = 6
	smallestClass = 12 // bits: 4 KB
)

// classOf finds the class of a size, classes if it is larger than all.
func classOf(n int64) int {
	if n <= 1<<smallestClass {
		return 0
	}
	return min((bits.Len64(uint64(n-1))-smallestClass+1)/2, classes)
}

// take returns pooled memory for n bytes, at most four times as large. It returns nil if there is
// none.
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

// put returns memory to the pool. Nothing may refer to it any more.
func (m *bufferPool) put(b []byte) {
	if class := classOf(int64(cap(b))); class < classes && cap(b) > 0 {
		m.classes[class].Put(&b)
	}
}

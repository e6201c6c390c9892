package verdict

// Variant is a set of properties of a request that have separate limits, besides the limits of its
// class of models.
type Variant uint8

const (
	// Fast is a request with speed "fast". Its rate limits and its capacity are separate.
	Fast Variant = 1 << iota
	// LongContext is a request for the million-token context window. An account may not have it.
	LongContext
)

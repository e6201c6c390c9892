// Package claude parses the parts of the Anthropic Messages API that a load balancer needs: the
// error envelope, event streams, messages and their usage, rate-limit headers, and request bodies.
//
// It is pure: it has no I/O, no clock, and no state between calls except in scanners that the
// caller owns. Its input is not trusted: every parser accepts any input without a panic, reads it
// in one pass and in bounded memory, and treats invalid values as missing. No parser changes its
// input.
package claude

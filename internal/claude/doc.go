// Package claude holds the facts of the Anthropic Messages API that a load
// balancer must know: the error envelope, the framing of its event streams, what
// an answer says about itself, rate-limit headers, and what a request body asks for.
//
// It is pure: no I/O, no clock, no state between calls but that of a scanner in
// the caller's hands. It reads what strangers send, so every parser takes any
// input without a panic, in one pass and in bounded memory, and treats
// nonsense as absence. It never changes a byte of what it reads.
package claude

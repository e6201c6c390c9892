// Package verdict classifies the result of an attempt. Judge and Rules.Judge are pure functions
// from Evidence to an Outcome: a scope (what a failure concerns), a reason and a time to wait. The
// package has no state and does no I/O.
package verdict

// Package verdict judges the response to an attempt. Judge and Rules.Judge are pure functions from Evidence to an
// Outcome: a scope (what a failure concerns), a reason and a time to wait. Nothing here has state or does I/O.
package verdict

//go:build !linux

package service

// listenerOn finds nothing: only Linux shows which process listens.
func listenerOn(string) (process, bool) { return process{}, false }

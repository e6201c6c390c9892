//go:build !unix

package service

// descriptorLimit reports false: there is no such limit here.
func descriptorLimit() (limit uint64, ok bool) { return 0, false }

//go:build !unix

package service

// descriptorLimit returns false: these systems have no such limit.
func descriptorLimit() (limit uint64, ok bool) { return 0, false }

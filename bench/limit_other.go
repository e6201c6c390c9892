//go:build !unix

package main

// raiseFileLimit does nothing on this system; 0 means no limit.
func raiseFileLimit() uint64 { return 0 }

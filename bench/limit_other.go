//go:build !unix

package main

// raiseFileLimit has nothing to raise here: 0 stands for no limit.
func raiseFileLimit() uint64 { return 0 }

package service

import (
	"io"
	"runtime/debug"
)

// Std has the standard streams and the environment of a command.
type Std struct {
	In       io.Reader
	Out, Err io.Writer
	Env      func(string) (string, bool)
}

// Exit statuses of every command.
const (
	ExitOK    = 0
	ExitError = 1
	ExitUsage = 2
)

// Version returns the version of this program and of Go, as the Go toolchain wrote them into the
// binary.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return versionOf(info)
}

// versionOf returns the version of a binary.
func versionOf(info *debug.BuildInfo) string {
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "(devel)" {
			v = "devel " + s.Value[:min(len(s.Value), 12)]
		}
	}
	return v + " " + info.GoVersion
}

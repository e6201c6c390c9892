package service

import (
	"io"
	"runtime/debug"
)

// Std is what a command may touch of the process it runs in.
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

// Version is what the Go toolchain stamped into the binary.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return versionOf(info)
}

// versionOf is the version of a binary.
func versionOf(info *debug.BuildInfo) string {
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "(devel)" {
			v = "devel " + s.Value[:min(len(s.Value), 12)]
		}
	}
	return v + " " + info.GoVersion
}

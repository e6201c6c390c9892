package service

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

const (
	// othersMayRead are the permissions that let other users read a file.
	othersMayRead fs.FileMode = 0o044
	// othersMayEnter are the permissions that let other users open files in a directory.
	othersMayEnter fs.FileMode = 0o011
)

// ModeProblems warns of secrets that other users of this machine can read, with the command that
// changes it: a configuration with secrets in it, the identity that decrypts them, and the files in
// the state directory. These are warnings, because the operator often cannot change the mode of a
// mounted file.
func ModeProblems(path string, cfg *config.Config, stateDir string) config.Problems {
	if runtime.GOOS == "windows" { // access does not depend on the mode
		return nil
	}
	var problems config.Problems
	if at := cfg.Literal; at.Path != "" && readableByOthers(path) {
		problems = append(problems, config.Problem{File: path, Line: at.Line, Col: at.Col, Path: at.Path, Warning: true,
			Msg: "is a secret in plain text, and others on this machine can read the file: " + chmod(path)})
	}
	// An identity that no secret needs is not read, and its mode does not matter.
	if slices.Contains(cfg.Files, cfg.IdentityPath) && readableByOthers(cfg.IdentityPath) {
		problems = append(problems, config.Problem{File: cfg.IdentityPath, Line: 1, Col: 1, Warning: true,
			Msg: "others on this machine can read this identity: " + chmod(cfg.IdentityPath)})
	}
	if loose := looseState(stateDir); len(loose) > 0 {
		problems = append(problems, config.Problem{File: loose[0], Line: 1, Col: 1, Warning: true,
			Msg: "others on this machine can read the saved state: " + chmod(loose...)})
	}
	return problems
}

// chmod returns the command that takes other users' permissions away.
func chmod(paths ...string) string {
	command := "chmod 600"
	for _, path := range paths {
		command += " " + ShellQuote(path)
	}
	return command
}

// readableByOthers reports whether other users can read a regular file. It is false for pipes and
// the like.
func readableByOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&othersMayRead != 0
}

// looseState lists the balancer's files in the state directory that other users can read.
func looseState(dir string) []string {
	info, err := os.Stat(dir)
	if err != nil || info.Mode()&othersMayEnter == 0 {
		return nil
	}
	var loose []string
	for _, name := range []string{routingState, ownersState, resourcesState, ledgerFile} {
		if file := filepath.Join(dir, name); readableByOthers(file) {
			loose = append(loose, file)
		}
	}
	return loose
}

// ShellQuote quotes s as one word of a shell.
func ShellQuote(s string) string {
	special := func(r rune) bool { return r <= ' ' || strings.ContainsRune("'\"\\$`&|;<>()*?[]#~!{}", r) }
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

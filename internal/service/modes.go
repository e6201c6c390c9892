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
	// othersMayRead are the permissions of a file that let somebody besides its owner read it.
	othersMayRead fs.FileMode = 0o044
	// othersMayEnter are those of a directory that let somebody besides its owner at what is in it.
	othersMayEnter fs.FileMode = 0o011
)

// ModeProblems warns, with the command that changes it, of secrets that others
// on this machine can read: a configuration with secrets in it, the identity that
// decrypts them, and what is kept in the state directory. They are warnings
// because a mounted file often has a mode that nobody here can change.
func ModeProblems(path string, cfg *config.Config, stateDir string) config.Problems {
	if runtime.GOOS == "windows" { // where the mode says nothing
		return nil
	}
	var problems config.Problems
	if at := cfg.Literal; at.Path != "" && readableByOthers(path) {
		problems = append(problems, config.Problem{File: path, Line: at.Line, Col: at.Col, Path: at.Path, Warning: true,
			Msg: "stands here as it is, and others on this machine can read the file: " + chmod(path)})
	}
	// Where no secret needs the identity, it is none of ours.
	if slices.Contains(cfg.Files, cfg.IdentityPath) && readableByOthers(cfg.IdentityPath) {
		problems = append(problems, config.Problem{File: cfg.IdentityPath, Line: 1, Col: 1, Warning: true,
			Msg: "others on this machine can read this identity: " + chmod(cfg.IdentityPath)})
	}
	if loose := looseState(stateDir); len(loose) > 0 {
		problems = append(problems, config.Problem{File: loose[0], Line: 1, Col: 1, Warning: true,
			Msg: "others on this machine can read what is kept here: " + chmod(loose...)})
	}
	return problems
}

func chmod(paths ...string) string {
	command := "chmod 600"
	for _, path := range paths {
		command += " " + ShellQuote(path)
	}
	return command
}

// readableByOthers is false for what is no file, such as a pipe.
func readableByOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&othersMayRead != 0
}

// looseState are the files of the state directory that others can read. There
// may be others in it that are none of ours.
func looseState(dir string) []string {
	info, err := os.Stat(dir)
	if err != nil || info.Mode()&othersMayEnter == 0 {
		return nil
	}
	var loose []string
	for _, name := range []string{routingState, ownersState, claimsState, ledgerFile} {
		if file := filepath.Join(dir, name); readableByOthers(file) {
			loose = append(loose, file)
		}
	}
	return loose
}

// ShellQuote writes s as one word of a shell.
func ShellQuote(s string) string {
	special := func(r rune) bool { return r <= ' ' || strings.ContainsRune("'\"\\$`&|;<>()*?[]#~!{}", r) }
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

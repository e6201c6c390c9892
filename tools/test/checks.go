package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// check is a condition that must hold besides the tests. A note gives the reason why it could not
// be checked.
type check struct {
	name string
	run  func(ctx context.Context) (note string, err error)
}

func checks(packages []string, strict bool) []check {
	all := []check{
		{"gofmt", func(context.Context) (string, error) { return "", unformatted(".") }},
		{"go vet", goCheck(append([]string{"vet"}, packages...))},
		{"staticcheck", goCheck(append([]string{"tool", "staticcheck"}, packages...))},
		{"govulncheck", func(ctx context.Context) (string, error) { return vulnerabilities(ctx, packages, strict) }},
	}
	for _, platform := range otherPlatforms() {
		all = append(all, check{"types on " + platform, func(ctx context.Context) (string, error) {
			return "", typesOn(ctx, platform, packages)
		}})
	}
	return all
}

func goCheck(args []string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%w\n%s", err, out)
		}
		return "", nil
	}
}

// unformatted returns an error that lists each Go file below root that gofmt would change. It
// formats in-process, because a gofmt in PATH may be of another Go version than this module's.
func unformatted(root string) error {
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (name[0] == '.' || name == "node_modules" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		formatted, err := format.Source(src)
		if err != nil || !bytes.Equal(src, formatted) {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for Go files: %w", err)
	}
	if len(files) > 0 {
		return fmt.Errorf("not formatted, run gofmt -w on:\n%s", strings.Join(files, "\n"))
	}
	return nil
}

// vulnerabilities runs govulncheck. Its findings depend on the day and on the installed Go, so they
// are an error only if strict is set, otherwise a note.
func vulnerabilities(ctx context.Context, packages []string, strict bool) (note string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	args := append([]string{"tool", "govulncheck"}, packages...)
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err == nil {
		return "", nil
	}
	if ctx.Err() != nil || databaseUnreachable(out) {
		return "the vulnerability database could not be reached, nothing was looked up: " + lastLine(out), nil
	}
	// `go tool` replaces the exit status of the tool by its own, so the text decides.
	if bytes.Contains(out, []byte("Vulnerability #")) && !strict {
		return "known vulnerabilities, an update of Go or of a module is due:\n" + string(out), nil
	}
	return "", fmt.Errorf("%w\n%s", err, out)
}

// databaseUnreachable recognizes the message of golang.org/x/vuln/internal/client.
func databaseUnreachable(output []byte) bool {
	return bytes.Contains(output, []byte("fetching vulnerabilities: "))
}

func lastLine(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return lines[len(lines)-1]
}

// raceArgs returns the arguments and the environment of go test: with the race detector if it can
// be built on this machine, otherwise note is the reason. Every package must be instrumented: if
// one is not, the linker may use its copy of a generic function of package sync for all, and the
// detector reports false races.
func raceArgs(ctx context.Context) (args, env []string, note string) {
	cmd := exec.CommandContext(ctx, "go", "build", "-race", "-o", os.DevNull, "./tools/test")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return []string{"-race"}, cmd.Env, ""
	}
	if _, started := errors.AsType[*exec.ExitError](err); !started {
		return nil, os.Environ(), err.Error()
	}
	return nil, os.Environ(), "running WITHOUT the race detector, which needs a C compiler: " + lastLine(out)
}

// install installs the programs that some tests need, if that is possible without a question: as
// root, with apt-get.
func install(ctx context.Context) error {
	updated := false
	for _, need := range []struct {
		program, debianPackages string
		find                    func(string) (string, error)
	}{
		{"gcc", "gcc libc6-dev", exec.LookPath},
		{"node", "nodejs", exec.LookPath},
		{"npm", "npm", exec.LookPath}, // some nodejs packages include npm and conflict with this one
		{"initdb", "postgresql", findPostgres},
		{"promtool", "prometheus", exec.LookPath},
	} {
		if _, err := need.find(need.program); err == nil {
			continue
		}
		if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
			return fmt.Errorf("cannot install %s: that needs root and apt-get", need.program)
		}
		if !updated {
			if err := aptGet(ctx, "update"); err != nil {
				return err
			}
			updated = true
		}
		if err := aptGet(ctx, "install -y --no-install-recommends "+need.debianPackages); err != nil {
			return err
		}
	}
	return nil
}

func aptGet(ctx context.Context, args string) error {
	cmd := exec.CommandContext(ctx, "apt-get", strings.Fields(args)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args, err, lastLine(out))
	}
	return nil
}

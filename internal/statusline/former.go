package statusline

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

const (
	// formerTime limits the user's own status line. Claude Code ends slow ones by itself.
	formerTime = 5 * time.Second
	// maxFormer bounds its output.
	maxFormer = 16 << 10
	// nested is set for the user's own status line, so that a line that runs this program again ends.
	nested = "CLAUDE_CODE_LB_STATUSLINE"
)

// runFormer runs the user's own status line with the same input, and returns its lines as one. A
// failure leaves our line alone.
func (o *Options) runFormer(ctx context.Context, raw []byte) string {
	if inside, _ := o.Env(nested); o.Then == "" || inside != "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, formerTime)
	defer cancel()
	shell := shellFor(runtime.GOOS)
	cmd := exec.CommandContext(ctx, shell[0], append(shell[1:], o.Then)...)
	cmd.Env = append(os.Environ(), nested+"=1")
	cmd.Stdin = bytes.NewReader(raw)
	cmd.WaitDelay = 100 * time.Millisecond
	out := &bounded{}
	cmd.Stdout = out
	_ = cmd.Run()
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(out.kept.String(), "")) {
		if line = strings.TrimRight(strings.ReplaceAll(line, "\r", ""), "\n "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, separator)
}

// shellFor returns the shell that Claude Code uses for status lines.
func shellFor(system string) []string {
	if system != "windows" {
		return []string{"/bin/sh", "-c"}
	}
	if bash, err := exec.LookPath("bash"); err == nil {
		return []string{bash, "-c"}
	}
	return []string{"powershell", "-NoProfile", "-Command"}
}

// bounded keeps the beginning of an output, and discards the rest.
type bounded struct{ kept bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.kept.Write(p[:min(len(p), max(maxFormer-b.kept.Len(), 0))])
	return len(p), nil
}

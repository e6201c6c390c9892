package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/service"
)

// TestStatusLineAlwaysPrintsOneLine includes mistakes in the flags: after an error, Claude Code would
// show nothing.
func TestStatusLineAlwaysPrintsOneLine(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, args := range [][]string{nil, {"-no-color"}, {"-format", "cost"}, {"-format", "x\ny"}, {"-nothing"}, {"word"}} {
		var out, errs bytes.Buffer
		std := service.Std{In: strings.NewReader("not JSON"), Out: &out, Err: &errs, Env: func(string) (string, bool) { return "", false }}
		status := Main(append([]string{"statusline"}, args...), std)
		if status != 0 || strings.Count(out.String(), "\n") != 1 || !strings.HasPrefix(out.String(), "⇄ ") && !strings.HasPrefix(out.String(), "\x1b") || errs.Len() > 0 {
			t.Errorf("%q: status %d, %q, %q", args, status, out.String(), errs.String())
		}
	}
}

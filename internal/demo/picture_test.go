package demo

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"html"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/9bingyin/claude-code-lb/internal/service"
)

var update = flag.Bool("update", false, "draw docs/images/demo.svg again")

const pictureFile = "../../docs/images/demo.svg"

// TestDemoPicture compares docs/images/demo.svg with the demo's output. With -update it runs the
// demo for 8 seconds and draws the picture from the output:
//
//	go test ./internal/demo -run TestDemoPicture -update
func TestDemoPicture(t *testing.T) {
	if *update {
		if err := os.WriteFile(pictureFile, drawTerminal(record(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	picture, err := os.ReadFile(pictureFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := terminalLines(picture)
	if !bytes.Equal(drawTerminal(lines), picture) {
		t.Errorf("%s is not what drawTerminal draws: run this test with -update", pictureFile)
	}
	shapes := linePatterns()
	for _, line := range lines {
		if !slices.ContainsFunc(shapes, func(s *regexp.Regexp) bool { return s.MatchString(line) }) {
			t.Errorf("the demo no longer prints lines like this one, run this test with -update: %q", line)
		}
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{header(), "── alpha is overloaded", "✗529 → ", ", 0 of them failed.", " stayed hidden: "} {
		if !strings.Contains(text, want) {
			t.Errorf("the picture does not show %q", want)
		}
	}
}

// record runs the demo and returns the lines for the picture: the beginning, the first failure with
// the requests around it, and the sums.
func record(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	if status := Run(ctx, service.Std{Out: &out, Err: &out, Env: noEnv}, []string{"-for", "8s"}); status != service.ExitOK {
		t.Fatalf("exit status %d:\n%s", status, &out)
	}
	all := strings.Split(strings.TrimSpace(out.String()), "\n")
	find := func(part string) int {
		i := slices.IndexFunc(all, func(line string) bool { return strings.Contains(line, part) })
		if i < 0 {
			t.Fatalf("no line with %q:\n%s", part, &out)
		}
		return i
	}
	header, failure, sums := find("session "), find("✗529"), find("upstream  ")
	announced := find("── alpha is overloaded")
	lines := append([]string{all[0], "", all[header]}, all[max(header+1, announced-4):announced+1]...)
	if failure > announced+6 {
		lines = append(append(lines, all[announced+1:announced+4]...), "…")
		announced = failure - 3
	}
	lines = append(lines, all[announced+1:min(failure+11, sums)]...)
	return append(append(lines, "…", ""), all[sums:]...)
}

// header returns the line with the column names.
func header() string {
	var out bytes.Buffer
	v := newScreen(service.Std{Out: &out, Err: &out, Env: noEnv})
	v.open("http://127.0.0.1:3000", nil)
	close(v.quit)
	v.writer.Wait()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[len(lines)-1]
}

// linePatterns are the kinds of lines that the demo prints.
func linePatterns() []*regexp.Regexp {
	shapes := []string{
		`^…?$`,
		`^The balancer is at http://127\.0\.0\.1:\d+, in front of 3 simulated upstreams: alpha, beta, gamma\.$`,
		`^` + regexp.QuoteMeta(header()) + `$`,
		`^\d\d:\d\d:\d\d  s\d+/\d+ +(stream|plain|count) +(alpha|beta|gamma) +\d+ .*$`,
		`^\d\d:\d\d:\d\d  ── .* recovered: one request will probe after the cooldown$`,
		`^upstream +requests +failed +first token mean +first token p95 +tokens in +tokens out +cache read$`,
		`^(alpha|beta|gamma) +\d+ .*$`,
		`^\d+ client requests in [\d.]+s, 0 of them failed\.$`,
		`^\d+ failures of upstreams stayed hidden: \d+ requests were answered by another upstream\.$`,
	}
	for _, scene := range script() {
		shapes = append(shapes, `^\d\d:\d\d:\d\d  ── `+regexp.QuoteMeta(scene.text)+`$`)
	}
	var compiled []*regexp.Regexp
	for _, s := range shapes {
		compiled = append(compiled, regexp.MustCompile(s))
	}
	return compiled
}

// drawTerminal draws lines as a terminal shows them.
func drawTerminal(lines []string) []byte {
	const lineHeight, left, top, glyph = 17, 16, 58, 7.6
	longest := 0
	for _, line := range lines {
		longest = max(longest, utf8.RuneCountInString(line))
	}
	width := 2*left + int(math.Ceil(float64(longest)*glyph))
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="12.5" role="img">
<title>claude-code-lb demo in a terminal</title>
<rect width="100%%" height="100%%" rx="8" fill="#15181d"/>
<circle cx="20" cy="18" r="5.5" fill="#ec6a5e"/><circle cx="38" cy="18" r="5.5" fill="#f4bf4f"/><circle cx="56" cy="18" r="5.5" fill="#61c554"/>
<path d="M16 36h%d" stroke="#2a2f37"/>
`, width, top+lineHeight*len(lines)+4, width-2*left)
	for i, line := range lines {
		text, attempts := line, ""
		if at := strings.Index(line, "  alpha ✗"); at > 0 {
			text, attempts = line[:at], line[at:]
		} else if at := max(strings.Index(line, "  beta ✗"), strings.Index(line, "  gamma ✗")); at > 0 {
			text, attempts = line[:at], line[at:]
		}
		fmt.Fprintf(&out, `<text x="%d" y="%d" xml:space="preserve" fill="%s">%s`, left, top+lineHeight*i, terminalColour(line), html.EscapeString(text))
		if attempts != "" {
			fmt.Fprintf(&out, `<tspan fill="#e3b341">%s</tspan>`, html.EscapeString(attempts))
		}
		out.WriteString("</text>\n")
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func terminalColour(line string) string {
	switch {
	case strings.Contains(line, "  ── "):
		return "#56d4dd"
	case strings.HasPrefix(line, "time ") || strings.HasPrefix(line, "upstream "):
		return "#ffffff"
	case strings.Contains(line, "of them failed") || strings.Contains(line, "stayed hidden"):
		return "#7ee787"
	default:
		return "#c9d1d9"
	}
}

var (
	terminalText = regexp.MustCompile(`<text [^>]*>(.*)</text>`)
	anyTag       = regexp.MustCompile(`<[^>]*>`)
)

// terminalLines reads the lines back from a picture.
func terminalLines(picture []byte) []string {
	var lines []string
	for _, m := range terminalText.FindAllSubmatch(picture, -1) {
		lines = append(lines, html.UnescapeString(anyTag.ReplaceAllString(string(m[1]), "")))
	}
	return lines
}

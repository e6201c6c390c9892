package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// commandLine is a use of the program in the documentation.
type commandLine struct {
	place string // file and line
	text  string
	words []string // after the program's name
}

// block is a fenced block of a Markdown file.
type block struct {
	language string
	line     int // of its first line
	lines    []string
}

func documents(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join("..", "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages in docs: %v", err)
	}
	for _, name := range []string{"README.md", "README.zh-CN.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md"} {
		pages = append(pages, filepath.Join("..", name))
	}
	return pages
}

// parse splits a Markdown file into its fenced blocks and, line by line, the rest.
func parse(text string) (blocks []block, prose map[int]string) {
	prose = map[int]string{}
	var open *block
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &block{language: fence, line: i + 2}
		case isFence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		default:
			prose[i+1] = line
		}
	}
	return blocks, prose
}

var (
	// invoked is the program at the start of a command, possibly after assignments of variables.
	invoked    = regexp.MustCompile(`^(?:\w+=\S* )*(?:sudo )?(?:go run \.|\S*?claude-code-lb)(?:\s+(.*))?$`)
	codeSpan   = regexp.MustCompile("`([^`]+)`")
	used       = regexp.MustCompile(`(?:claude-code-lb|go run \.) (?:-|(?:init|check|secret|schema|connect|run|statusline|explain-error|key|report|export-trace|simulate|demo|fake|webhook-test)\b)`)
	comment    = regexp.MustCompile(`(^|\s)#.*$`)
	synopsis   = regexp.MustCompile(`\[([^-\]][^\]]*)\]`) // [options]
	operator   = regexp.MustCompile(`\s(?:&&|\|\|?|;|&|\d?>>?|<)(?:\s|$)`)
	shellWord  = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`)
	flagOfHelp = regexp.MustCompile(`(?m)^ +-([a-z][\w-]*)(?: (\S+))?`)
)

// commandLines finds every use of the program in a file.
func commandLines(t *testing.T, file string) []commandLine {
	t.Helper()
	var found []commandLine
	add := func(line int, text string) {
		text = synopsis.ReplaceAllString(comment.ReplaceAllString(text, ""), "")
		for _, part := range operator.Split(text, -1) {
			m := invoked.FindStringSubmatch(strings.TrimSpace(part))
			if m == nil {
				continue
			}
			var words []string
			for _, word := range shellWord.FindAllString(strings.NewReplacer("[", "", "]", "").Replace(m[1]), -1) {
				words = append(words, strings.Trim(word, `'"`))
			}
			found = append(found, commandLine{fmt.Sprintf("%s:%d", file, line), text, words})
		}
	}
	blocks, prose := parse(readFile(t, file))
	for _, b := range blocks {
		switch b.language {
		case "sh", "bash", "shell":
			for i := 0; i < len(b.lines); i++ {
				text, at := b.lines[i], b.line+i
				for strings.HasSuffix(text, `\`) && i+1 < len(b.lines) {
					i++
					text = strings.TrimSuffix(text, `\`) + " " + b.lines[i]
				}
				add(at, text)
			}
		case "text", "":
			for i, text := range b.lines {
				command, _, _ := strings.Cut(strings.TrimSpace(text), "  ") // an explanation follows
				add(b.line+i, command)
			}
		}
	}
	for line, text := range prose {
		for _, span := range codeSpan.FindAllStringSubmatch(text, -1) {
			if used.MatchString(span[1]) { // otherwise the name, or an error message that begins with it
				add(line, span[1])
			}
		}
	}
	return found
}

// flagsOf returns the flags of a command, and whether each takes a value.
func flagsOf(t *testing.T, command ...string) map[string]bool {
	t.Helper()
	r := run(t, invocation{args: append(command, "-h")})
	flags := map[string]bool{"h": false, "help": false}
	for _, m := range flagOfHelp.FindAllStringSubmatch(r.stdout+r.stderr, -1) {
		flags[m[1]] = m[2] != ""
	}
	return flags
}

// TestDocumentedCommands checks every command and flag in the documentation.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	commands := map[string]map[string]bool{"": flagsOf(t)}
	for _, name := range []string{"init", "check", "secret", "schema", "connect", "run", "statusline", "explain-error", "key", "report", "ledger", "export-trace", "simulate", "demo", "fake", "webhook-test"} {
		commands[name] = flagsOf(t, name)
	}
	for _, name := range []string{"new-identity", "encrypt"} {
		commands["secret "+name] = flagsOf(t, "secret", name)
	}
	found := 0
	for _, file := range documents(t) {
		for _, line := range commandLines(t, file) {
			found++
			if problem := misuse(commands, line.words); problem != "" {
				t.Errorf("%s: %s\n\t%s", line.place, problem, line.text)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d uses of the program found in the documentation", found)
	}
}

// misuse describes what is wrong with a command line, "" if it is valid.
func misuse(commands map[string]map[string]bool, words []string) string {
	command := ""
	for i := 0; i < len(words); i++ {
		dashed, isFlag := strings.CutPrefix(words[i], "-")
		switch {
		case !isFlag && command == "" && commands[words[i]] != nil:
			command = words[i]
			continue
		case !isFlag && commands[command+" "+words[i]] != nil:
			command += " " + words[i]
			continue
		case !isFlag && command == "" && words[i] == "help":
			continue
		case !isFlag && command == "key" && (slices.Contains([]string{"new", "list", "rotate", "revoke"}, words[i]) || slices.Contains([]string{"new", "rotate", "revoke"}, words[i-1])):
			continue // the verb, or a name after it
		case command == "ledger" && (words[i] == "import" || words[i] == "-" || !isFlag && slices.Contains(words[:i], "import")):
			continue // the verb, or the file to import
		case command == "run" && words[i] == "--":
			return "" // the command to run follows
		case !isFlag && command == "connect" && strings.Contains(words[i], "://"):
			continue // the balancer to connect to
		case !isFlag:
			return fmt.Sprintf("%q is neither a command nor a flag", words[i])
		}
		name, _, hasValue := strings.Cut(strings.TrimPrefix(dashed, "-"), "=")
		takesValue, known := commands[command][name]
		if !known {
			return fmt.Sprintf("%q has no flag -%s", command, name)
		}
		if !takesValue || hasValue {
			continue
		}
		if i++; i == len(words) {
			return fmt.Sprintf("-%s has no value", name)
		}
		if name == "fault" {
			if _, err := fault.ParseRule(words[i]); err != nil {
				return err.Error()
			}
		}
	}
	return ""
}

// TestRunnableBlocks runs the blocks marked as sh, not bash, of both READMEs and of pages with such
// blocks, unchanged, with the program built for these tests. The demo is shortened.
func TestRunnableBlocks(t *testing.T) {
	t.Parallel()
	unixOnly(t, "the blocks are written for a POSIX shell")
	for _, page := range []string{"README.md", "README.zh-CN.md", "docs/choosing.md", "docs/configuration.md", "docs/routing.md"} {
		file := filepath.Join("..", filepath.FromSlash(page))
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			blocks, _ := parse(readFile(t, file))
			blocks = slices.DeleteFunc(blocks, func(b block) bool { return b.language != "sh" })
			demos, dir := 0, t.TempDir()
			traces, err := filepath.Abs(filepath.Join("..", "traces"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(traces, filepath.Join(dir, "traces")); err != nil {
				t.Fatal(err)
			}
			for _, b := range blocks {
				for _, line := range b.lines {
					if strings.Contains(line, "demo") {
						demos++
					}
					runLine(t, dir, line)
				}
			}
			if demos == 0 && strings.HasPrefix(page, "README") {
				t.Error("no demo among the runnable blocks")
			}
		})
	}
}

// runLine runs one line of a block, except those that build or test the program.
func runLine(t *testing.T, dir, line string) {
	t.Helper()
	ours := regexp.MustCompile(`^(echo '[^']*' \| )?(?:go run \.|\./claude-code-lb)( |$)`)
	if !ours.MatchString(line) {
		if line != "" && !strings.HasPrefix(line, "go build ") && !strings.HasPrefix(line, "go run ./tools/") {
			t.Errorf("a block marked as sh holds %q, which is not known to run anywhere: mark it as bash", line)
		}
		return
	}
	short := regexp.MustCompile(`-for \S+`).ReplaceAllString(line, "-for 3s")
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", ours.ReplaceAllString(short, `$1"$$PROGRAM"$2`))
	cmd.Dir = dir
	cmd.Env = environment("PROGRAM=" + binary)
	if out, err := cmd.CombinedOutput(); err != nil || accident(string(out)) != "" {
		t.Errorf("%s: %v %s\n%s", short, err, accident(string(out)), out)
	}
}

// TestDemo runs the demo like a new user.
func TestDemo(t *testing.T) {
	t.Parallel()
	r := run(t, invocation{args: []string{"demo", "-for", "3s"}})
	if r.status != 0 {
		t.Errorf("exit status %d:\n%s%s", r.status, r.stdout, r.stderr)
	}
	for _, want := range []string{"ANTHROPIC_BASE_URL=http://127.0.0.1:", "ANTHROPIC_AUTH_TOKEN="} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the demo does not show %s", want)
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	if lines := strings.Count(r.stdout, "\n"); lines < 10 {
		t.Errorf("only %d lines of output:\n%s", lines, r.stdout)
	}
}

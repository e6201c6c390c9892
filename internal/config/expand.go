package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// maxIncluded bounds a file read through ${file:…}; a token is far shorter.
const maxIncluded = 1 << 20

// expanded decodes the string v and replaces its variables. The replacement comes after decoding,
// so a value with quotes cannot break the JSON. It reports every variable without a value, and
// returns whether the text is in the file without references.
func (d *decoder) expanded(path string, v hujson.Value, f field) (s string, plain, ok bool) {
	s = v.Value.(hujson.Literal).String()
	if !strings.Contains(s, "${") {
		return s, true, true
	}
	if f.shell {
		s, env, ok := d.command(path, v, runtime.GOOS == "windows")
		if d.commandEnv == nil {
			d.commandEnv = map[string][]string{}
		}
		d.commandEnv[path] = env
		return s, false, ok
	}
	var out strings.Builder
	ok = true
	for {
		before, rest, found := strings.Cut(s, "${")
		if !found {
			out.WriteString(s)
			return out.String(), false, ok
		}
		if literal, escaped := strings.CutSuffix(before, "$"); escaped {
			out.WriteString(literal + "${")
			s = rest
			continue
		}
		out.WriteString(before)
		value, length, problem := d.reference(rest, false)
		if problem != "" {
			d.errorf(v.StartOffset, path, "%s", problem)
			d.missing++
			ok = false
		}
		out.WriteString(value)
		s = rest[length:]
	}
}

// reference resolves the variable whose text, after "${", begins s. It returns its value and its
// length in s, or a description of the problem.
func (d *decoder) reference(s string, shell bool) (value string, length int, problem string) {
	body, _, closed := strings.Cut(s, "}")
	length = len(body) + len("}")
	name, fallback, hasFallback := strings.Cut(body, ":-")
	filename, isFile := strings.CutPrefix(body, "file:")
	ours := closed && !strings.Contains(body, "${") && (isName(name) || isFile && filename != "")
	switch {
	case !ours && shell:
		return "${" + s[:shellReference(s)], shellReference(s), ""
	case !ours:
		return "", 0, `has a "${" that is not a variable: write ${NAME}, ${NAME:-default} or ${file:/path}, and "$${" for the two characters themselves`
	case !isName(name):
		value, problem = d.include(filename)
		return value, length, problem
	}
	value, set := d.env(name)
	switch {
	case value == "" && hasFallback:
		return fallback, length, ""
	case set:
		return value, length, ""
	case shell:
		return "", length, fmt.Sprintf("the variable %s is not set: export it, or write $%s to leave it to the shell", name, name)
	default:
		return "", length, fmt.Sprintf("the variable %s is not set: export it, or write ${%s:-default}", name, name)
	}
}

// shellReference returns the length of a parameter expansion of the shell, which may contain
// others; s begins after its "${".
func shellReference(s string) int {
	depth := 1
	for i := range len(s) {
		switch {
		case strings.HasPrefix(s[i:], "${"):
			depth++
		case s[i] == '}':
			depth--
		}
		if depth == 0 {
			return i + 1
		}
	}
	return 0
}

// isName reports whether s is the name of an environment variable.
func isName(s string) bool {
	other := func(r rune) bool { return r != '_' && !isAlphanumeric(r) }
	return s != "" && (s[0] < '0' || s[0] > '9') && !strings.ContainsFunc(s, other)
}

// include returns the content of a file named by ${file:…}, without the line breaks at its end.
func (d *decoder) include(name string) (content, problem string) {
	if problem := controlInPath(name); problem != "" {
		return "", "the name of the file in ${file:…} " + problem
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(d.src.file), name)
	}
	b, err := readRegular(name)
	if !errors.Is(err, errIrregular) && !slices.Contains(d.files, name) {
		d.files = append(d.files, name)
	}
	if err != nil {
		return "", fmt.Sprintf("cannot read %s: %v", name, err)
	}
	if !utf8.Valid(b) {
		return "", fmt.Sprintf("cannot use %s: it is not UTF-8 text", name)
	}
	return strings.TrimRight(string(b), "\r\n"), ""
}

// errIrregular is the error for files that could block or never end. Watchers of Config.Files avoid
// them too.
var errIrregular = errors.New("it is not a regular file")

// readRegular reads a whole file of bounded size.
func readRegular(name string) ([]byte, error) { return readBounded(name, maxIncluded) }

// readBounded reads a whole file of at most the given size.
func readBounded(name string, most int) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, withoutPath(err)
	case !info.Mode().IsRegular():
		return nil, errIrregular
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	switch {
	case err != nil:
		return nil, withoutPath(err)
	case len(b) > most:
		return nil, fmt.Errorf("it is larger than %d MiB", most>>20)
	}
	return b, nil
}

func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// escapeVariables returns a text that expands to s.
func escapeVariables(s string) string { return strings.ReplaceAll(s, "${", "$${") }

func trimBOM(src []byte) []byte { return bytes.TrimPrefix(src, []byte("\ufeff")) }

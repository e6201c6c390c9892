package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tailscale/hujson"
)

// shellVariable is the prefix, before a number, of the environment variables that pass values to a
// shell command.
const shellVariable = "CLAUDE_CODE_LB_"

// secondShells match constructs that would parse an expanded value again: other shells, and shell
// arithmetic.
var secondShells = []*regexp.Regexp{
	regexp.MustCompile(`(?:^|[\s;&|(/"'` + "`" + `])(eval|trap|let|ssh)\s`),
	regexp.MustCompile(`(?:^|[\s;&|(/"'` + "`" + `])((?:ba|da|z|k|a|fi)?sh|su|cmd(?:\.exe)?|powershell(?:\.exe)?|pwsh)(?:\s+[-/][\w-]+)*\s+[-/]\w*[cC]`),
	regexp.MustCompile(`\|\s*(?:\S*/)?((?:ba|da|z|k|a)?sh)\s*(?:$|[-;&|)\n])`),
	regexp.MustCompile(`(\(\(|\[\[|<<)`),
}

// command decodes a shell command. It does not insert the values of variables and files into the
// command, where the shell would parse them. Instead it inserts quoted references to environment
// variables, which it returns as name=value.
func (d *decoder) command(path string, v hujson.Value, windows bool) (s string, env []string, ok bool) {
	text := v.Value.(hujson.Literal).String()
	if !strings.Contains(text, "${") {
		return text, nil, true
	}
	var out strings.Builder
	var quoting quoting
	add := func(plain string) {
		out.WriteString(plain)
		quoting.feed(plain)
	}
	whole, ok := text, true
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			add(text)
			break
		}
		if literal, escaped := strings.CutSuffix(before, "$"); escaped {
			add(literal)
			out.WriteString("${")
			quoting.last = 'x'
			text = rest
			continue
		}
		add(before)
		value, length, problem := d.reference(rest, true)
		switch {
		case problem != "":
			d.missing++
		case value == "${"+rest[:length]: // a reference of the shell
			out.WriteString(value)
			quoting.last = 'x'
		default:
			problem = valueProblem(whole, value, "${"+rest[:length])
			name := fmt.Sprint(shellVariable, len(env)+1)
			env = append(env, name+"="+value)
			out.WriteString(quoting.refer(name, windows))
		}
		if problem != "" {
			d.errorf(v.StartOffset, path, "%s", problem)
			ok = false
		}
		text = rest[length:]
	}
	if len(env) > 0 && ok {
		ok = d.checkCommand(path, v.StartOffset, whole, windows)
	}
	return out.String(), env, ok
}

// valueProblem describes why a value cannot be used in a command, "" if it can.
func valueProblem(command, value, reference string) string {
	switch {
	case strings.ContainsRune(value, 0):
		return "has a variable or a file with a NUL character, which cannot be passed to a command"
	case strings.TrimSpace(command) == reference && strings.ContainsAny(value, " \t\n|;&<>()$`\\\"'*?"):
		return "is only a variable or a file: values are never run as commands. Write the command itself here, or the path of a script"
	}
	return ""
}

// checkCommand reports commands in which a value would be parsed although it is quoted.
func (d *decoder) checkCommand(path string, offset int, command string, windows bool) bool {
	if windows && strings.Contains(command, "!") {
		d.errorf(offset, path, `has a "!" beside a ${…}: cmd.exe then takes it for the name of a variable. Write %%NAME%%, or a script`)
		return false
	}
	for _, second := range secondShells {
		if m := second.FindStringSubmatch(command); m != nil {
			d.errorf(offset, path, `has a ${…} in a command with %q, which would parse the value: write $NAME within single quotes, which leaves it to the inner shell, or call a script`, m[1])
			return false
		}
	}
	return true
}

// quoting tracks the quotes of a shell command.
type quoting struct {
	open []byte // open quotes, the innermost last: ' " ` ( and #, for a comment
	last byte   // previous character, 0 at the beginning of a word; a backslash includes the next one
}

// within returns the innermost open quote, 0 if there is none.
func (q *quoting) within() byte {
	if len(q.open) == 0 {
		return 0
	}
	return q.open[len(q.open)-1]
}

func (q *quoting) push(c byte) { q.open = append(q.open, c) }
func (q *quoting) pop()        { q.open = q.open[:len(q.open)-1] }

// feed continues with text of the command.
func (q *quoting) feed(text string) {
	for i := range len(text) {
		c := text[i]
		if q.last == '\\' && q.within() != '\'' && q.within() != '#' {
			q.last = 'x' // any character
			continue
		}
		switch q.within() {
		case '\'':
			if c == '\'' {
				q.pop()
			}
		case '#':
			if c == '\n' {
				q.pop()
			}
		case '"':
			q.quoted(c)
		default:
			q.plain(c)
		}
		q.last = c
	}
}

// quoted handles a character within double quotes.
func (q *quoting) quoted(c byte) {
	switch {
	case c == '"':
		q.pop()
	case c == '`', c == '(' && q.last == '$':
		q.push(c)
	}
}

// plain handles a character outside of quotes, or within a command substitution.
func (q *quoting) plain(c byte) {
	switch c {
	case '\'', '"', '(':
		q.push(c)
	case '`':
		if q.within() == '`' {
			q.pop()
		} else {
			q.push(c)
		}
	case ')':
		if q.within() == '(' {
			q.pop()
		}
	case '#':
		if q.last == 0 || strings.IndexByte(" \t\n;&|(", q.last) >= 0 {
			q.push(c)
		}
	}
}

// refer returns a reference to an environment variable that expands to one word, or to a part of
// one. cmd.exe expands !NAME! after it has parsed the command.
func (q *quoting) refer(name string, windows bool) string {
	q.last = 'x'
	if windows {
		return "!" + name + "!"
	}
	switch q.within() {
	case '"', '#':
		return "${" + name + "}"
	case '\'':
		return `'"${` + name + `}"'`
	default:
		return `"${` + name + `}"`
	}
}

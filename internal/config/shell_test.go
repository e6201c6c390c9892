package config

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestValuesAreNotParsedByTheShell runs commands with values that would do harm if the shell parsed
// them: each value arrives unchanged, in quotes of any kind.
func TestValuesAreNotParsedByTheShell(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the commands are written for a POSIX shell")
	}
	dir := t.TempDir()
	harm := filepath.Join(dir, "harm")
	evil := "a  b'c\"d$(touch " + harm + ")`touch " + harm + "`;touch " + harm + " #\\ * ~ $HOME ${HOME}\ne && touch " + harm
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(evil+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{"KEY": evil, "EMPTY": "", "N": "7"}
	f := func(command, want string) {
		t.Helper()
		command = strings.ReplaceAll(command, "FILE", secret)
		text, err := json.Marshal(command)
		if err != nil {
			t.Fatal(err)
		}
		cfg, problems := Decode("config.json", []byte(servers(fmt.Sprintf(`{"url": "https://a.example", "token": "t", "balance_check": %s}`, text))), env(values))
		if len(problems) > 0 {
			t.Errorf("%s: %v", command, problems)
			return
		}
		s := cfg.Servers[0]
		if strings.Contains(s.BalanceCheck.Reveal(), "touch") {
			t.Errorf("%s became %s", command, s.BalanceCheck.Reveal())
		}
		cmd := exec.Command("/bin/sh", "-c", s.BalanceCheck.Reveal())
		cmd.Dir = dir
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "OWN=own"}, strings.Split(s.BalanceEnv.Reveal(), "\x00")...)
		out, err := cmd.CombinedOutput()
		if got := string(out); err != nil || got != want {
			t.Errorf("%s became %s:\n got %q %v\nwant %q", command, s.BalanceCheck.Reveal(), got, err, want)
		}
		if _, err := os.Stat(harm); err == nil {
			t.Fatalf("%s ran what the value says", command)
		}
	}
	for _, reference := range []string{"${KEY}", "${file:FILE}", "${KEY:-other}"} {
		f(`printf '[%s]' `+reference, "["+evil+"]")
		f(`printf '[%s]' "`+reference+`"`, "["+evil+"]")
		f(`printf '[%s]' 'x `+reference+` y' z`, "[x "+evil+" y][z]")
		f(`printf '[%s]' "Authorization: Bearer `+reference+`"`, "[Authorization: Bearer "+evil+"]")
		f(`printf '[%s]' -H'a: `+reference+`'b`, "[-Ha: "+evil+"b]")
		f(`printf '[%s]' "$(printf '<%s>' "`+reference+`")"`, "[<"+strings.TrimRight(evil, "\n")+">]")
		f(`printf '[%s]' "$(printf '<%s>' '`+reference+`')" '`+reference+`'`, "[<"+evil+">]["+evil+"]")
		f("printf '[%s]' `printf '<%s>' 1`"+reference, "[<1>"+evil+"]")
		f("true # it's a comment "+reference+"\nprintf '[%s]' "+reference, "["+evil+"]")
		f(`printf '[%s]' \"`+reference+`\' '\'`+reference, `["`+evil+`'][\`+evil+`]`)
		f(`printf '[%s]' a#'b'`+reference, "[a#b"+evil+"]")
	}
	f(`printf '[%s]' ${NONE:-a "b"} ${N} "${N}${N}"`, `[a "b"][7][77]`)
	f(`printf '[%s]' $OWN ${OWN%n} '$${OWN}' "$${OWN}"`, `[own][ow][${OWN}][own]`)
	f(`printf '[%s]' ${EMPTY}`, `[]`)

	refused := func(command, words string) {
		t.Helper()
		text, _ := json.Marshal(command)
		_, problems := Decode("config.json", []byte(servers(fmt.Sprintf(`{"url": "https://a.example", "token": "t", "balance_check": %s}`, text))), env(values))
		if len(problems) != 1 || problems[0].Warning || !strings.Contains(problems[0].String(), words) || strings.Contains(problems[0].String(), "touch") {
			t.Errorf("%s: %v", command, problems)
		}
	}
	for _, command := range []string{
		`sh -c "echo ${KEY}"`, `/bin/bash -lc 'echo ${KEY}'`, `bash --norc -c "echo ${KEY}"`, `eval echo ${KEY}`, `x; eval "${KEY}"`, `echo ${KEY} | sh`, `echo "${KEY}"|bash -s`,
		`ssh host echo ${KEY}`, "echo `eval ${KEY}`", `trap "echo ${KEY}" EXIT`, `su -c "${KEY} 1"`,
	} {
		refused(command, "would parse the value")
	}
	for _, command := range []string{`echo $((${KEY}))`, `[[ ${KEY} -eq 1 ]] && echo 1`, "cat <<END\n${KEY}\nEND"} {
		refused(command, "would parse the value")
	}
	refused(`${KEY}`, "values are never run as commands")
	refused(` ${file:`+secret+`} `, "values are never run as commands")
}

// TestReferencesOfWindows checks the references that cmd.exe expands after it has parsed the command.
func TestReferencesOfWindows(t *testing.T) {
	f := func(command, want, problem string) {
		t.Helper()
		text, _ := json.Marshal(command)
		d := &decoder{src: source{"config.json", text}, env: env(map[string]string{"KEY": "a&b"}), cfg: &Config{}, nodes: map[string]node{}}
		v, ok := d.parse()
		if !ok {
			t.Fatal(d.problems)
		}
		got, vars, ok := d.command("servers[0].balance_check", v, true)
		if ok != (problem == "") || ok && (got != want || fmt.Sprint(vars) != "[CLAUDE_CODE_LB_1=a&b]") || !ok && !strings.Contains(fmt.Sprint(d.problems), problem) {
			t.Errorf("%s: %s %v %v", command, got, vars, d.problems)
		}
	}
	f(`curl -H "x-api-key: ${KEY}" https://a.example`, `curl -H "x-api-key: !CLAUDE_CODE_LB_1!" https://a.example`, "")
	f(`echo hello! ${KEY}`, "", `"!"`)
	f(`cmd /c "echo ${KEY}"`, "", "would parse the value")
}

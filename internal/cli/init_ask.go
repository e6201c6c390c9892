package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// questionnaire asks the operator for the first configuration, on a terminal or through a pipe with
// one answer per line.
type questionnaire struct {
	ctx      context.Context
	path     string // of the new file: relative ${file:…} paths start in its directory
	env      func(string) (string, bool)
	in       *bufio.Reader
	out      io.Writer
	terminal *os.File // nil for a pipe
}

func newQuestionnaire(ctx context.Context, std service.Std, path string) *questionnaire {
	q := &questionnaire{ctx: ctx, path: path, env: assumeSet(std.Env), in: bufio.NewReader(std.In), out: std.Out}
	if f, ok := std.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		q.terminal = f
	}
	return q
}

// fill asks for everything that c does not have yet.
func (q *questionnaire) fill(c *firstConfig) error {
	fmt.Fprintln(q.out, "An empty answer takes the value in brackets. ${NAME} stands for an environment variable.")
	if err := q.servers(c); err != nil {
		return err
	}
	if c.mode == "" && len(c.servers) > 1 {
		answer, err := q.ask("Mode, load_balance or fallback", string(config.ModeLoadBalance), func(s string) string {
			return q.firstError(firstConfig{mode: config.Mode(s), servers: c.servers}, "mode")
		})
		if err != nil {
			return err
		}
		c.mode = config.Mode(answer)
	}
	if c.listen == "" {
		answer, err := q.ask("Address to listen on", defaultListen, func(s string) string {
			return q.firstError(firstConfig{listen: s, servers: c.servers}, "listen")
		})
		if err != nil {
			return err
		}
		c.listen = answer
	}
	if len(c.keys) > 0 {
		return nil
	}
	return q.clientKey(c)
}

// servers asks for upstreams until an empty answer.
func (q *questionnaire) servers(c *firstConfig) error {
	question, preset := "URL of an upstream", defaultURL
	for {
		url, err := q.ask(question, preset, func(s string) string {
			if s == "" && len(c.servers) > 0 {
				return ""
			}
			return q.firstError(firstConfig{servers: []firstServer{{url: s}}}, "servers[0].url")
		})
		if err != nil {
			return err
		}
		if url == "" {
			return nil
		}
		token, err := q.askHidden("Token for it (empty: the one each client sends)", func(s string) string {
			return q.firstError(firstConfig{servers: []firstServer{{url: url, token: config.NewSecret(s)}}}, "servers[0].token")
		})
		if err != nil {
			return err
		}
		c.servers = append(c.servers, firstServer{url, token})
		question, preset = "URL of another upstream (empty: no more)", ""
	}
}

// clientKey asks whether to make a key for clients. The default is yes if other machines can
// connect.
func (q *questionnaire) clientKey(c *firstConfig) error {
	preset := "yes"
	if host, _, err := net.SplitHostPort(c.listen); err == nil && config.IsLoopback(host) {
		preset = "no"
	}
	answer, err := q.ask("Make a key that clients must send, yes or no", preset, func(s string) string {
		if _, ok := yesOrNo(s); !ok {
			return "answer yes or no"
		}
		return ""
	})
	if err != nil {
		return err
	}
	if yes, _ := yesOrNo(answer); yes {
		c.makeKey()
	}
	return nil
}

func yesOrNo(s string) (yes, ok bool) {
	switch strings.ToLower(s) {
	case "yes", "y":
		return true, true
	case "no", "n":
		return false, true
	}
	return false, false
}

// firstError returns the first error of one field of c, or "".
func (q *questionnaire) firstError(c firstConfig, field string) string {
	for _, p := range c.problems(q.path, q.env) {
		if !p.Warning && p.Path == field {
			return p.Msg
		}
	}
	return ""
}

// ask repeats a question until check returns no problem with the answer. An empty answer stands for
// the preset.
func (q *questionnaire) ask(question, preset string, check func(string) string) (string, error) {
	return q.repeat(question, preset, check, q.readLine)
}

// askHidden asks without echo on a terminal.
func (q *questionnaire) askHidden(question string, check func(string) string) (config.Secret, error) {
	read := q.readLine
	if q.terminal != nil {
		question, read = question+", not shown", q.readHidden
	}
	answer, err := q.repeat(question, "", check, read)
	return config.NewSecret(answer), err
}

// repeat asks a question until the answer passes check.
func (q *questionnaire) repeat(question, preset string, check func(string) string, read func() (string, error)) (string, error) {
	if preset != "" {
		question += " [" + preset + "]"
	}
	for {
		fmt.Fprintf(q.out, "%s: ", question)
		answer, err := q.await(read)
		if err != nil {
			return "", err
		}
		if answer = strings.TrimSpace(answer); answer == "" {
			answer = preset
		}
		problem := check(answer)
		if problem == "" {
			return answer, nil
		}
		fmt.Fprintln(q.out, "  Not accepted:", problem)
	}
}

// await waits for an answer or the end of the context. In the latter case the read continues in the
// background, because nothing can interrupt it; the program is about to end.
func (q *questionnaire) await(read func() (string, error)) (string, error) {
	type result struct {
		answer string
		err    error
	}
	restore := q.terminalState()
	done := make(chan result, 1)
	go func() {
		answer, err := read()
		done <- result{answer, err}
	}()
	select {
	case r := <-done:
		return r.answer, r.err
	case <-q.ctx.Done():
		restore()
		return "", errors.New("interrupted")
	}
}

// terminalState saves the state of the terminal. restore brings back the echo, which reading a
// token switches off.
func (q *questionnaire) terminalState() (restore func()) {
	if q.terminal == nil {
		return func() {}
	}
	fd := int(q.terminal.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return func() {}
	}
	return func() { _ = term.Restore(fd, state) } // nothing else could be done
}

// readLine reads one line. The last line may lack a line break.
func (q *questionnaire) readLine() (string, error) {
	line, err := q.in.ReadString('\n')
	if err == nil || errors.Is(err, io.EOF) && line != "" {
		return line, nil
	}
	return "", inputError(err)
}

func (q *questionnaire) readHidden() (string, error) {
	token, err := term.ReadPassword(int(q.terminal.Fd()))
	fmt.Fprintln(q.out)
	if err != nil {
		return "", inputError(err)
	}
	return string(token), nil
}

func inputError(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the input ended before all questions were answered")
	}
	return fmt.Errorf("read the answer: %w", err)
}

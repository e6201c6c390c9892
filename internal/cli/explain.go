package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const explainIntro = `claude-code-lb explain-error reads an answer of an upstream and tells how it is judged:
whom it concerns, what the client sees, who rests and for how long. The answer is
pasted on standard input: what curl -i or curl -v printed, the body alone, the
error event of a stream, or the line in which a client shows it.

Usage: claude-code-lb explain-error [flags] < ANSWER

Flags:
`

// maxPaste bounds what is read of an answer.
const maxPaste = 4 << 20

// explaining is what the command line asks for.
type explaining struct {
	file, config  string
	status        int
	server, model string
	path          string
	own           bool
}

func runExplain(_ context.Context, std service.Std, args []string) int {
	flags := newFlags("explain-error", explainIntro)
	var e explaining
	flags.StringVar(&e.config, "c", "", "configuration `FILE` whose error_rules and cooldown count (default: none, what is built in)")
	flags.StringVar(&e.file, "f", "", "read the answer from `FILE` instead of standard input")
	flags.IntVar(&e.status, "status", 0, "`STATUS` of the answer, where the pasted text does not tell it")
	flags.StringVar(&e.server, "server", "", "`NAME` of the server that gave the answer, for rules that name one")
	flags.StringVar(&e.model, "model", "", "`MODEL` that was asked for")
	flags.StringVar(&e.path, "path", "", "`PATH` that was asked for, such as /v1/messages/count_tokens (default: /v1/messages)")
	flags.BoolVar(&e.own, "own-credential", false, "the client's own credential was sent, because the server has no token")
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	if err := e.explain(std); err != nil {
		fmt.Fprintln(std.Err, "explain-error:", err)
		return service.ExitUsage
	}
	return service.ExitOK
}

func (e *explaining) explain(std service.Std) error {
	cfg, err := e.configuration(std)
	if err != nil {
		return err
	}
	text, err := e.paste(std)
	if err != nil {
		return err
	}
	answer, err := parsePaste(text)
	if err != nil {
		return err
	}
	ev, err := e.evidence(answer)
	if err != nil {
		return err
	}
	v := verdictOn{ev: ev, begun: answer.event && answer.content, cfg: cfg, file: e.config}
	v.Outcome, v.rule = verdict.NewRules(cfg.ErrorRules).Explain(ev)
	_, err = io.WriteString(std.Out, v.String())
	return err
}

// configuration is the operator's where one is named, and the defaults otherwise.
func (e *explaining) configuration(std service.Std) (*config.Config, error) {
	if e.config == "" {
		cfg, _ := config.Decode("", []byte("{}"), std.Env)
		return cfg, nil
	}
	cfg, problems, err := service.LoadConfig(std, e.config, service.UnusedByRules()...)
	if err != nil {
		return nil, err
	}
	if problems.Failed() {
		return nil, fmt.Errorf("%s has errors: claude-code-lb check -c %s tells them", e.config, e.config)
	}
	named := func(s config.Server) bool { return s.Name == e.server }
	if e.server != "" && !slices.ContainsFunc(cfg.Servers, named) {
		return nil, fmt.Errorf("%s has no server named %q", e.config, e.server)
	}
	return cfg, nil
}

func (e *explaining) paste(std service.Std) ([]byte, error) {
	from := std.In
	if e.file != "" {
		f, err := os.Open(e.file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxPaste+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxPaste:
		return nil, errors.New("the answer is longer than 4 MiB")
	case len(strings.TrimSpace(string(text))) == 0:
		return nil, errors.New("there is no answer: paste one on standard input, or name a file with -f")
	}
	return text, nil
}

// evidence is what the balancer would have known of such an answer.
func (e *explaining) evidence(a pasted) (verdict.Evidence, error) {
	ev := verdict.Evidence{
		Header: a.header, Body: a.body, Error: a.claimed, Server: e.server, Model: e.model, OwnCredential: e.own, Now: time.Now(),
	}
	if e.path != "" {
		ev.Path = classOf(e.path)
	}
	if claude.WantsLongContext(nil, e.model) {
		ev.Variant = verdict.LongContext
	}
	ev.Status = cmp.Or(a.status, e.status, a.said)
	switch {
	case a.event && ev.Status == 0:
		ev.Status = http.StatusOK
	case ev.Status == 0 && ev.Error != nil && ev.Error.Type != "":
		ev.Status = claude.StatusForType(ev.Error.Type)
	case ev.Status == 0:
		return ev, errors.New("no status, no error of the API: paste the head of the answer too (curl -i), or add -status")
	case ev.Status < 100 || ev.Status > 599:
		return ev, fmt.Errorf("status %d is none: write one from 100 to 599", ev.Status)
	case ev.Status < http.StatusBadRequest && ev.Status != http.StatusOK:
		ev.Err = fmt.Errorf("%w: neither a 200 nor an error", verdict.ErrUnusable)
	case ev.Status == http.StatusOK && ev.Error == nil && !a.content:
		ev.Err = fmt.Errorf("%w: %s", verdict.ErrUnusable, a.oddity())
	}
	return ev, nil
}

// classOf returns the class of a path, with the usual method of that path.
func classOf(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if class := claude.PathClass(http.MethodGet, path); class == claude.PathModels {
		return class
	}
	return claude.PathClass(http.MethodPost, path)
}

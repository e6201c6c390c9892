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

const explainIntro = `claude-code-lb explain-error reads a response of an upstream and explains how it is
judged: its scope, what the client sees, and the cooldown. Paste the response on standard
input: the output of curl -i or curl -v, the body alone, the error event of a stream, or
the line in which a client shows the error.

Usage: claude-code-lb explain-error [flags] < RESPONSE

Flags:
`

// maxPaste is the largest response that is accepted.
const maxPaste = 4 << 20

// explainCommand has the flags of explain-error.
type explainCommand struct {
	file, config  string
	status        int
	server, model string
	path          string
	own           bool
}

func runExplain(_ context.Context, std service.Std, args []string) int {
	flags := newFlags("explain-error", explainIntro)
	var e explainCommand
	flags.StringVar(&e.config, "c", "", "configuration `FILE` whose error_rules and cooldown apply (default: only the built-in rules)")
	flags.StringVar(&e.file, "f", "", "read the response from `FILE` instead of standard input")
	flags.IntVar(&e.status, "status", 0, "`STATUS` of the response, if the pasted text does not contain it")
	flags.StringVar(&e.server, "server", "", "`NAME` of the server that sent the response, for rules that name one")
	flags.StringVar(&e.model, "model", "", "`MODEL` of the request")
	flags.StringVar(&e.path, "path", "", "`PATH` of the request, such as /v1/messages/count_tokens (default: /v1/messages)")
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

func (e *explainCommand) explain(std service.Std) error {
	cfg, err := e.loadConfig(std)
	if err != nil {
		return err
	}
	text, err := e.readPaste(std)
	if err != nil {
		return err
	}
	response, err := parsePaste(text)
	if err != nil {
		return err
	}
	ev, err := e.evidence(response)
	if err != nil {
		return err
	}
	x := explanation{ev: ev, begun: response.event && response.content, cfg: cfg, file: e.config}
	x.Outcome, x.rule = verdict.NewRules(cfg.ErrorRules).Explain(ev)
	_, err = io.WriteString(std.Out, x.String())
	return err
}

// loadConfig returns the configuration of -c, or the defaults.
func (e *explainCommand) loadConfig(std service.Std) (*config.Config, error) {
	if e.config == "" {
		cfg, _ := config.Decode("", []byte("{}"), std.Env)
		return cfg, nil
	}
	cfg, problems, err := service.LoadConfig(std, e.config, service.UnusedByRules()...)
	if err != nil {
		return nil, err
	}
	if problems.Failed() {
		return nil, fmt.Errorf("%s has errors: claude-code-lb check -c %s lists them", e.config, e.config)
	}
	named := func(s config.Server) bool { return s.Name == e.server }
	if e.server != "" && !slices.ContainsFunc(cfg.Servers, named) {
		return nil, fmt.Errorf("%s has no server named %q", e.config, e.server)
	}
	return cfg, nil
}

// readPaste reads the response from the file of -f or from standard input.
func (e *explainCommand) readPaste(std service.Std) ([]byte, error) {
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
		return nil, errors.New("the response is longer than 4 MiB")
	case len(strings.TrimSpace(string(text))) == 0:
		return nil, errors.New("there is no response: paste one on standard input, or name a file with -f")
	}
	return text, nil
}

// evidence returns what the balancer would know of such a response.
func (e *explainCommand) evidence(p pasted) (verdict.Evidence, error) {
	ev := verdict.Evidence{
		Header: p.header, Body: p.body, Error: p.err,
		Server: e.server, Model: e.model, OwnCredential: e.own, Now: time.Now(),
	}
	if e.path != "" {
		ev.Path = classOf(e.path)
	}
	if claude.WantsLongContext(nil, e.model) {
		ev.Variant = verdict.LongContext
	}
	ev.Status = cmp.Or(p.status, e.status, p.lineStatus)
	switch {
	case p.event && ev.Status == 0:
		ev.Status = http.StatusOK
	case ev.Status == 0 && ev.Error != nil && ev.Error.Type != "":
		ev.Status = claude.StatusForType(ev.Error.Type)
	case ev.Status == 0:
		return ev, errors.New("no status, no error of the API: paste the response header too (curl -i), or add -status")
	case ev.Status < 100 || ev.Status > 599:
		return ev, fmt.Errorf("-status %d: want a status from 100 to 599", ev.Status)
	case ev.Status < http.StatusBadRequest && ev.Status != http.StatusOK:
		ev.Err = fmt.Errorf("%w: neither a 200 nor an error", verdict.ErrUnusable)
	case ev.Status == http.StatusOK && ev.Error == nil && !p.content:
		ev.Err = fmt.Errorf("%w: %s", verdict.ErrUnusable, p.unusableReason())
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

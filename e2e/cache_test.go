package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// dialogue is a conversation with the official SDK, like an agent's: every turn sends all of it,
// with a cache mark at the end.
type dialogue struct {
	client   anthropic.Client
	name     string
	messages []anthropic.MessageParam
	servers  []string // that responded, by turn
	read     int64    // tokens, from the cache
	limited  int      // turns that were refused with a 429
}

func newDialogue(b *balancer, name string) *dialogue {
	client := anthropic.NewClient(option.WithoutEnvironmentDefaults(), option.WithBaseURL(b.url), option.WithAuthToken(clientKey), option.WithMaxRetries(0),
		option.WithHTTPClient(b.client), option.WithHeader("X-Lb-Trace", "1"))
	return &dialogue{client: client, name: name}
}

// turn sends a turn of about the given number of words and reads the response.
func (d *dialogue) turn(t *testing.T, words int) {
	t.Helper()
	said := anthropic.NewTextBlock(fmt.Sprintf("turn %d of %s: %s", len(d.messages), d.name, strings.Repeat("word ", words)))
	said.OfText.CacheControl = anthropic.NewCacheControlEphemeralParam()
	messages := append(slices.Clone(d.messages), anthropic.NewUserMessage(said))
	var res *http.Response
	m, err := d.client.Messages.New(t.Context(), anthropic.MessageNewParams{Model: model, MaxTokens: 64, Messages: messages}, option.WithResponseInto(&res))
	if failure, ok := errors.AsType[*anthropic.Error](err); ok && failure.StatusCode == http.StatusTooManyRequests {
		d.limited++
		return
	}
	if err != nil {
		t.Errorf("%s: %v", d.name, err)
		return
	}
	d.read += m.Usage.CacheReadInputTokens
	d.servers = append(d.servers, res.Header.Get("X-Lb-Upstream"))
	plain := anthropic.NewTextBlock(said.OfText.Text) // only the end has a mark
	d.messages = append(d.messages, anthropic.NewUserMessage(plain), m.ToParam())
}

// hold continues dialogues at the same time, each turn by turn.
func hold(t *testing.T, turns, words int, all []*dialogue) {
	t.Helper()
	var wg sync.WaitGroup
	for _, d := range all {
		wg.Go(func() {
			for range turns {
				d.turn(t, words)
			}
		})
	}
	wg.Wait()
}

func dialogues(b *balancer, n int) []*dialogue {
	var all []*dialogue
	for i := range n {
		all = append(all, newDialogue(b, fmt.Sprint("dialogue ", i)))
	}
	return all
}

func costAware(fakes ...*fake) object {
	var servers []object
	for _, f := range fakes {
		servers = append(servers, f.entry())
	}
	return balanced("cost_aware", servers...)
}

// TestThreeAccountsReadLikeOne compares the cache reads that the SDK reports.
func TestThreeAccountsReadLikeOne(t *testing.T) {
	t.Parallel()
	total := func(fakes ...*fake) (read int64) {
		all := dialogues(start(t, costAware(fakes...)), 6)
		hold(t, 1, 5000, all)
		hold(t, 7, 300, all)
		for _, d := range all {
			read += d.read
		}
		return read
	}
	one := total(newFake(t, "alone"))
	three := total(newFakes(t, "a", "b", "c")...)
	if one == 0 || float64(three) < 0.99*float64(one) {
		t.Errorf("three accounts read %d tokens from their caches, one account %d", three, one)
	}
}

// TestADeadAccountMovesItsDialoguesOnly checks that only its dialogues move, and only once.
func TestADeadAccountMovesItsDialoguesOnly(t *testing.T) {
	t.Parallel()
	fakes := newFakes(t, "a", "b", "c")
	b := start(t, costAware(fakes...))
	all := dialogues(b, 9)
	hold(t, 3, 1500, all)
	dead := all[0].servers[0]
	for _, f := range fakes {
		if f.name == dead {
			f.fails(status(503))
		}
	}
	hold(t, 4, 200, all)
	for _, d := range all {
		home, later := d.servers[0], d.servers[3:]
		switch moved := slices.Compact(slices.Clone(later)); {
		case len(d.servers) != 7:
			t.Errorf("%s: %d of 7 turns were answered", d.name, len(d.servers))
		case home != dead && (len(moved) != 1 || moved[0] != home):
			t.Errorf("%s lived at %s and was sent to %v", d.name, home, later)
		case home == dead && (len(moved) != 1 || moved[0] == dead):
			t.Errorf("%s lived at %s, which died, and was sent to %v", d.name, home, later)
		}
	}
}

// TestNoLimitIsHitWhereTakingTurnsHitsMany runs the same work on accounts whose limits suffice for
// one cache.
func TestNoLimitIsHitWhereTakingTurnsHitsMany(t *testing.T) {
	t.Parallel()
	const sessions, turns = 24, 12
	refused := func(change func(object) object) (clients int) {
		fakes := newFakes(t, "a", "b", "c")
		for _, f := range fakes {
			s := f.Settings()
			s.Limits = fakeclaude.Limits{InputTokens: 60_000}
			if err := f.SetSettings(s); err != nil {
				t.Fatal(err)
			}
		}
		all := dialogues(start(t, change(costAware(fakes...))), sessions)
		hold(t, 1, 3000, all)
		hold(t, turns-1, 60, all)
		for _, d := range all {
			clients += d.limited
		}
		return clients
	}
	if n := refused(func(o object) object { return o }); n > 0 {
		t.Errorf("%d turns were refused with a 429", n)
	}
	blind := refused(func(o object) object {
		return o.with("algorithm", "round_robin").with("affinity", "off").with("max_wait", 0)
	})
	if blind < 100 {
		t.Errorf("taking turns had only %d of %d turns refused: the limits are too wide to prove anything", blind, sessions*turns)
	}
}

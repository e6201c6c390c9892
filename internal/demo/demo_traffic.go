package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// demoTraffic are clients that hold conversations as Claude Code does: growing
// histories behind a long common prompt, with the cache marks where it sets
// them, mostly streamed, side calls not.
type demoTraffic struct {
	base   string
	seed   uint64
	view   *demoView
	client *http.Client
	prompt demoPrompt
}

func newDemoTraffic(base string, seed uint64, view *demoView) *demoTraffic {
	return &demoTraffic{
		base: base, seed: seed, view: view, prompt: newDemoPrompt(seed),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxDemoSessions}},
	}
}

// run keeps up a number of sessions until ctx ends, and lets the requests in flight finish then.
func (t *demoTraffic) run(ctx context.Context, sessions int) {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer t.client.CloseIdleConnections()
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(demoGrace, cut) })()
	var clients sync.WaitGroup
	for number := range sessions {
		clients.Go(func() { t.keepUp(ctx, requests, number+1) })
	}
	clients.Wait()
}

// keepUp holds one conversation after the other.
func (t *demoTraffic) keepUp(ctx, requests context.Context, number int) {
	dice := rand.New(rand.NewPCG(t.seed, uint64(number)))
	for n := 0; ; n++ {
		c := &demoConversation{
			traffic: t, dice: dice, id: demoSessionID(number, n),
			model: []string{"claude-opus-5-5", "claude-sonnet-5-5"}[number%2],
		}
		if !c.think(ctx) {
			return
		}
		if err := c.hold(ctx, requests); err != nil && requests.Err() == nil {
			t.view.failed(c.id, err)
		}
	}
}

const demoSessionPrefix = "de300000-0000-4000-8000-"

// demoSessionID is the id of a client's nth conversation, from which demoSession tells the client.
func demoSessionID(number, n int) string {
	return fmt.Sprintf("%s%04x%08x", demoSessionPrefix, number, uint32(n))
}

// demoSession is the number of the demo's client that sent a session id; false for any other.
func demoSession(id string) (int, bool) {
	rest, ok := strings.CutPrefix(id, demoSessionPrefix)
	if !ok || len(rest) != 12 {
		return 0, false
	}
	number, err := strconv.ParseUint(rest[:4], 16, 16)
	return int(number), err == nil
}

// demoConversation is one session of one client. One goroutine owns it.
type demoConversation struct {
	traffic *demoTraffic
	dice    *rand.Rand
	id      string
	model   string
	history []demoMessage
}

// think lets a moment pass, in which the user reads or a tool runs.
func (c *demoConversation) think(ctx context.Context) bool {
	return pass(ctx, time.Duration(100+c.dice.IntN(300))*time.Millisecond)
}

// hold goes on for some turns, or until ctx ends, or until a request fails.
func (c *demoConversation) hold(ctx, requests context.Context) error {
	turns := 5 + c.dice.IntN(6)
	c.hear(demoBlock{Type: "text", Text: demoProse(c.dice, 60+c.dice.IntN(200))})
	if c.dice.IntN(2) == 0 {
		if err := c.count(requests); err != nil {
			return err
		}
	}
	for turn := 0; turn < turns && ctx.Err() == nil; turn++ {
		if turn > 0 && !c.think(ctx) {
			return nil
		}
		answer, err := c.send(requests, c.ask(c.dice.IntN(6) > 0))
		if err != nil {
			return err
		}
		c.history = append(c.history, demoMessage{Role: "assistant", Content: answer.blocks})
		c.hear(c.react(answer)...)
		if turn == 0 && ctx.Err() == nil {
			if _, err := c.send(requests, c.title()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *demoConversation) hear(blocks ...demoBlock) {
	c.history = append(c.history, demoMessage{Role: "user", Content: blocks})
}

// react is what the client says next: what the tools gave, where any were called, else a new question.
func (c *demoConversation) react(answer *demoAnswer) []demoBlock {
	var results []demoBlock
	for _, b := range answer.blocks {
		if b.Type == "tool_use" {
			results = append(results, demoBlock{Type: "tool_result", ToolUseID: b.ID, Content: demoProse(c.dice, 100+c.dice.IntN(500))})
		}
	}
	if results == nil {
		return []demoBlock{{Type: "text", Text: demoProse(c.dice, 20+c.dice.IntN(60))}}
	}
	return results
}

// send asks for a message and returns the whole of it, or an error.
func (c *demoConversation) send(ctx context.Context, r demoRequest) (*demoAnswer, error) {
	res, err := c.post(ctx, claude.MessagesPath, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if r.Stream {
		return readDemoStream(res.Body)
	}
	return readDemoPlain(res.Body)
}

func (c *demoConversation) count(ctx context.Context) error {
	res, err := c.post(ctx, "/v1/messages/count_tokens", c.counted())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var count struct {
		InputTokens int64 `json:"input_tokens"`
	}
	if err := json.NewDecoder(res.Body).Decode(&count); err != nil {
		return fmt.Errorf("read count: %w", err)
	}
	if count.InputTokens == 0 {
		return errors.New("the answer is not a count of tokens")
	}
	return nil
}

// post sends a request. An error status is an error; else the body is the caller's to close.
func (c *demoConversation) post(ctx context.Context, path string, r demoRequest) (*http.Response, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.traffic.base+path+"?beta=true", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer demo", "Content-Type": "application/json", "Anthropic-Version": "2023-06-01",
		"Anthropic-Beta": "claude-code-20250219", "X-App": "cli", "User-Agent": "claude-code-lb-demo",
		"X-Claude-Code-Session-Id": c.id,
	} {
		req.Header.Set(name, value)
	}
	res, err := c.traffic.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusBadRequest {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return nil, fmt.Errorf("status %d: %s", res.StatusCode, bytes.TrimSpace(text))
	}
	return res, nil
}

// demoAnswer is a message as far as it has been read.
type demoAnswer struct {
	message claude.Message
	blocks  []demoBlock
	broken  error // of an event that cannot be read
}

// readDemoStream reads a stream to its end. Anything but a whole message is an error.
func readDemoStream(r io.Reader) (*demoAnswer, error) {
	var events claude.EventScanner
	var answer demoAnswer
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		events.Feed(buf[:n], answer.observe)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read stream: %w", err)
		}
	}
	switch m := answer.message; {
	case m.Err != nil:
		return nil, fmt.Errorf("error event: %s: %s", m.Err.Type, m.Err.Message)
	case answer.broken != nil:
		return nil, fmt.Errorf("unreadable event: %w", answer.broken)
	case !m.Started || !m.Stopped:
		return nil, errors.New("the stream ended without message_stop")
	}
	return &answer, nil
}

func (a *demoAnswer) observe(ev claude.Event) {
	a.message.Observe(ev)
	var data struct {
		ContentBlock demoBlock `json:"content_block"`
		Index        int       `json:"index"`
		Delta        struct {
			Text        string `json:"text"`
			PartialJSON string `json:"partial_json"`
		} `json:"delta"`
	}
	if ev.Name != "content_block_start" && ev.Name != "content_block_delta" {
		return
	}
	if err := json.Unmarshal(ev.Data, &data); err != nil {
		a.broken = err
		return
	}
	if ev.Name == "content_block_start" {
		data.ContentBlock.Input = nil // the deltas bring it
		a.blocks = append(a.blocks, data.ContentBlock)
		return
	}
	if data.Index != len(a.blocks)-1 {
		a.broken = fmt.Errorf("a delta of block %d after %d blocks", data.Index, len(a.blocks))
		return
	}
	b := &a.blocks[data.Index]
	b.Text += data.Delta.Text
	b.Input = append(b.Input, data.Delta.PartialJSON...)
}

func readDemoPlain(r io.Reader) (*demoAnswer, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	message, ok := claude.ParseMessage(body)
	var content struct {
		Content []demoBlock `json:"content"`
	}
	if err := json.Unmarshal(body, &content); err != nil || !ok {
		return nil, errors.New("the answer is not a message")
	}
	return &demoAnswer{message: message, blocks: content.Content}, nil
}

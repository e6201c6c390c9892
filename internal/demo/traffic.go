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

// traffic simulates clients with conversations like Claude Code's: growing histories after a long
// common prompt, with the same cache marks, mostly streamed, side requests not.
type traffic struct {
	base   string
	seed   uint64
	view   *screen
	client *http.Client
	prompt sharedPrompt
}

func newTraffic(base string, seed uint64, view *screen) *traffic {
	return &traffic{
		base: base, seed: seed, view: view, prompt: newSharedPrompt(seed),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxSessions}},
	}
}

// run runs a number of clients until ctx ends, and then lets the requests in flight finish.
func (t *traffic) run(ctx context.Context, sessions int) {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer t.client.CloseIdleConnections()
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cut) })()
	var clients sync.WaitGroup
	for number := range sessions {
		clients.Go(func() { t.runClient(ctx, requests, number+1) })
	}
	clients.Wait()
}

// runClient runs one conversation after another until ctx ends.
func (t *traffic) runClient(ctx, requests context.Context, number int) {
	random := rand.New(rand.NewPCG(t.seed, uint64(number)))
	for n := 0; ; n++ {
		c := &conversation{
			traffic: t, random: random, id: sessionID(number, n),
			model: []string{"claude-opus-5-5", "claude-sonnet-5-5"}[number%2],
		}
		if !c.think(ctx) {
			return
		}
		if err := c.converse(ctx, requests); err != nil && requests.Err() == nil {
			t.view.recordFailure(c.id, err)
		}
	}
}

const sessionPrefix = "de300000-0000-4000-8000-"

// sessionID returns the id of a client's nth conversation, which sessionClient decodes.
func sessionID(number, n int) string {
	return fmt.Sprintf("%s%04x%08x", sessionPrefix, number, uint32(n))
}

// sessionClient returns the number of the demo's client that sent a session id; false for any other
// id.
func sessionClient(id string) (int, bool) {
	rest, ok := strings.CutPrefix(id, sessionPrefix)
	if !ok || len(rest) != 12 {
		return 0, false
	}
	number, err := strconv.ParseUint(rest[:4], 16, 16)
	return int(number), err == nil
}

// conversation is one session of one client. One goroutine uses it.
type conversation struct {
	traffic *traffic
	random  *rand.Rand
	id      string
	model   string
	history []chatMessage
}

// think waits as long as a user reads or a tool runs. It returns false if ctx ended.
func (c *conversation) think(ctx context.Context) bool {
	return sleep(ctx, time.Duration(100+c.random.IntN(300))*time.Millisecond)
}

// converse sends the requests of some turns, until ctx ends or a request fails.
func (c *conversation) converse(ctx, requests context.Context) error {
	turns := 5 + c.random.IntN(6)
	c.addUserMessage(block{Type: "text", Text: prose(c.random, 60+c.random.IntN(200))})
	if c.random.IntN(2) == 0 {
		if err := c.countTokens(requests); err != nil {
			return err
		}
	}
	for turn := 0; turn < turns && ctx.Err() == nil; turn++ {
		if turn > 0 && !c.think(ctx) {
			return nil
		}
		response, err := c.send(requests, c.nextRequest(c.random.IntN(6) > 0))
		if err != nil {
			return err
		}
		c.history = append(c.history, chatMessage{Role: "assistant", Content: response.blocks})
		c.addUserMessage(c.nextUserBlocks(response)...)
		if turn == 0 && ctx.Err() == nil {
			if _, err := c.send(requests, c.titleRequest()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *conversation) addUserMessage(blocks ...block) {
	c.history = append(c.history, chatMessage{Role: "user", Content: blocks})
}

// nextUserBlocks returns the client's next message: the results of tools if any were called, else a
// new question.
func (c *conversation) nextUserBlocks(response *reply) []block {
	var results []block
	for _, b := range response.blocks {
		if b.Type == "tool_use" {
			results = append(results, block{Type: "tool_result", ToolUseID: b.ID, Content: prose(c.random, 100+c.random.IntN(500))})
		}
	}
	if results == nil {
		return []block{{Type: "text", Text: prose(c.random, 20+c.random.IntN(60))}}
	}
	return results
}

// send requests a message and reads it completely.
func (c *conversation) send(ctx context.Context, r requestBody) (*reply, error) {
	res, err := c.post(ctx, claude.MessagesPath, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if r.Stream {
		return readStream(res.Body)
	}
	return readPlain(res.Body)
}

func (c *conversation) countTokens(ctx context.Context) error {
	res, err := c.post(ctx, "/v1/messages/count_tokens", c.promptBody())
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
		return errors.New("the response is not a token count")
	}
	return nil
}

// post sends a request. An error status is an error; otherwise the caller closes the body.
func (c *conversation) post(ctx context.Context, path string, r requestBody) (*http.Response, error) {
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

// reply is the received part of a message.
type reply struct {
	message claude.Message
	blocks  []block
	broken  error // of an event that cannot be parsed
}

// readStream reads a stream to its end. Anything but a complete message is an error.
func readStream(r io.Reader) (*reply, error) {
	var events claude.EventScanner
	var response reply
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		events.Feed(buf[:n], response.observe)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read stream: %w", err)
		}
	}
	switch m := response.message; {
	case m.Err != nil:
		return nil, fmt.Errorf("error event: %s: %s", m.Err.Type, m.Err.Message)
	case response.broken != nil:
		return nil, fmt.Errorf("unreadable event: %w", response.broken)
	case !m.Started || !m.Stopped:
		return nil, errors.New("the stream ended without message_stop")
	}
	return &response, nil
}

func (a *reply) observe(ev claude.Event) {
	a.message.Observe(ev)
	var data struct {
		ContentBlock block `json:"content_block"`
		Index        int   `json:"index"`
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
		data.ContentBlock.Input = nil // the deltas contain it
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

func readPlain(r io.Reader) (*reply, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	message, ok := claude.ParseMessage(body)
	var content struct {
		Content []block `json:"content"`
	}
	if err := json.Unmarshal(body, &content); err != nil || !ok {
		return nil, errors.New("the response is not a message")
	}
	return &reply{message: message, blocks: content.Content}, nil
}

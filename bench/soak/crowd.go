package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// conversations continue and begin again, so that the state to remember is bounded.
	conversations = 400
	mostTurns     = 12
	// patience is the time limit of a request.
	patience = 2 * time.Minute
)

// crowd is clients that send requests at a steady rate.
type crowd struct {
	url    string
	client *http.Client

	asked, open, whole, cut, left, failed atomic.Int64

	mu    sync.Mutex
	flaws []string // the first few
}

func newCrowd(url string) *crowd {
	return &crowd{url: url + "/v1/messages", client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}}}
}

// ask sends requests until ctx ends, and waits for those in flight, at most the given number: on a
// busy machine the rate is not reached, and the number of open requests does not grow.
func (c *crowd) ask(ctx context.Context, rate float64, most int) {
	defer c.client.CloseIdleConnections()
	var asking sync.WaitGroup
	defer asking.Wait()
	open := make(chan struct{}, most)
	const step = 5 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	begin, sent := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due := int(time.Since(begin).Seconds() * rate); sent < due; sent++ {
			select {
			case open <- struct{}{}:
			case <-ctx.Done():
				return
			}
			n := sent
			asking.Go(func() {
				c.one(n)
				<-open
			})
		}
	}
}

// one sends the n-th request: every second one a stream, every tenth large, every tenth of a client
// that leaves.
func (c *crowd) one(n int) {
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	stream := n%2 == 0
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body(n, stream, n%10 == 3)))
	if err != nil {
		c.flaw("%v", err)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	leaves := n%10 == 6
	if leaves { // before, during or after the response
		time.AfterFunc(rand.N(300*time.Millisecond), leave)
	}
	c.asked.Add(1)
	c.open.Add(1)
	defer c.open.Add(-1)
	res, err := c.client.Do(r)
	if err != nil {
		c.ended(leaves, fmt.Errorf("no answer: %w", err))
		return
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %.300s", res.StatusCode, text)
	} else if err != nil || stream && !bytes.Contains(text, []byte(`"type":"message_stop"`)) {
		err = c.broken(stream, text, err)
	}
	c.ended(leaves, err)
}

// errCut means that the upstream cut a stream in the middle, and that the client got an error
// event.
var errCut = errors.New("cut")

// broken judges an incomplete response: a cut after the first content cannot be hidden, but must be
// reported to the client.
func (c *crowd) broken(stream bool, text []byte, err error) error {
	if stream && bytes.Contains(text, []byte("event: content_block_start")) && bytes.Contains(text, []byte("event: error")) {
		return errCut
	}
	return fmt.Errorf("an answer that is not whole: %v: %.300s", err, text)
}

// ended counts a request.
func (c *crowd) ended(leaves bool, err error) {
	switch {
	case leaves:
		c.left.Add(1)
	case err == nil:
		c.whole.Add(1)
	case errors.Is(err, errCut):
		c.cut.Add(1)
	default:
		c.flaw("%v", err)
	}
}

func (c *crowd) flaw(format string, args ...any) {
	const few = 10
	c.failed.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.flaws) < few {
		c.flaws = append(c.flaws, fmt.Sprintf(format, args...))
	}
}

func (c *crowd) counts() string {
	return fmt.Sprintf("%d requests: %d whole, %d cut by an upstream and reported, %d left by their clients, %d failed",
		c.asked.Load(), c.whole.Load(), c.cut.Load(), c.left.Load(), c.failed.Load())
}

// verdict returns an error for unexpected results.
func (c *crowd) verdict() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failed.Load() > 0:
		return fmt.Errorf("%d requests failed:\n%s", c.failed.Load(), strings.Join(c.flaws, "\n"))
	case c.whole.Load() == 0:
		return errors.New("no answer was whole")
	}
	return nil
}

// body returns the body of the n-th request: a turn of a conversation, or a large one.
func body(n int, stream, large bool) []byte {
	type object = map[string]any
	conversation, turns := n%conversations, n/conversations%mostTurns
	marked := object{"type": "ephemeral"}
	size := 1 << 10
	if large {
		size = 300 << 10 / (2*turns + 1)
	}
	var messages []object
	for i := range 2*turns + 1 {
		text := strings.Repeat(fmt.Sprintf("Conversation %d says in turn %d what has to be said. ", conversation, i), size/50)
		block := object{"type": "text", "text": text}
		if i == 2*turns {
			block["cache_control"] = marked
		}
		messages = append(messages, object{"role": []string{"user", "assistant"}[i%2], "content": []object{block}})
	}
	text, _ := json.Marshal(object{ // of strings and numbers
		"model": "claude-sonnet-4-5", "max_tokens": 200, "stream": stream, "messages": messages,
		"system":   []object{{"type": "text", "text": strings.Repeat("All conversations begin alike. ", 200), "cache_control": marked}},
		"metadata": object{"user_id": fmt.Sprintf("user_soak_account__session_%08d-0000-0000-0000-000000000000", conversation)},
	})
	return text
}

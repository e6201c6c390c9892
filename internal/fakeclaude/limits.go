package fakeclaude

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Limits are the rate limits of one account, per minute and per model family. 0 means that there is
// no such limit, and that no headers describe it.
type Limits struct {
	Requests     int64 `json:"requests"`
	InputTokens  int64 `json:"input_tokens"` // input and cache writes; cache reads are free
	OutputTokens int64 `json:"output_tokens"`
	// Debt lets a prompt that is larger than the rest of InputTokens drive the level of the bucket
	// below zero. Without it, such a prompt only empties the bucket.
	Debt bool `json:"debt"`
}

func (l Limits) validate() error {
	if min(l.Requests, l.InputTokens, l.OutputTokens) < 0 {
		return errors.New("limits: negative")
	}
	return nil
}

// bucket is a token bucket that refills continuously. Its capacity is the limit of one minute.
type bucket struct {
	limit int64 // per minute and capacity; 0 = unlimited
	level float64
	at    time.Time // of level
}

func newBucket(limit int64, now time.Time) bucket {
	return bucket{limit: limit, level: float64(limit), at: now}
}

func (b *bucket) refill(now time.Time) {
	if elapsed := now.Sub(b.at); elapsed > 0 {
		b.level = min(float64(b.limit), b.level+elapsed.Minutes()*float64(b.limit))
		b.at = now
	}
}

// wait returns the time until need fits into the level. A need above the capacity fits into a full
// bucket.
func (b *bucket) wait(need float64) time.Duration {
	if b.limit == 0 {
		return 0
	}
	missing := min(need, float64(b.limit)) - b.level
	if missing < 1e-6 { // the rounding of an earlier wait must not cause another refusal
		return 0
	}
	return time.Duration(missing / float64(b.limit) * float64(time.Minute))
}

// fullAt returns the time at which the bucket is full.
func (b *bucket) fullAt() time.Time {
	missing := float64(b.limit) - b.level
	return b.at.Add(time.Duration(missing / float64(b.limit) * float64(time.Minute)))
}

// remainingShare returns the level as a part of the limit.
func (b *bucket) remainingShare() float64 {
	if b.limit == 0 {
		return math.Inf(1)
	}
	return b.level / float64(b.limit)
}

// Meter has the buckets of one account for one model family. Not safe for concurrent use.
type Meter struct {
	limits                  Limits
	requests, input, output bucket
}

// NewMeter returns a Meter with full buckets.
func NewMeter(l Limits, now time.Time) *Meter {
	return &Meter{
		limits:   l,
		requests: newBucket(l.Requests, now),
		input:    newBucket(l.InputTokens, now),
		output:   newBucket(l.OutputTokens, now),
	}
}

func (m *Meter) refill(now time.Time) {
	m.requests.refill(now)
	m.input.refill(now)
	m.output.refill(now)
}

// Refusal is the limit that a request exceeds.
type Refusal struct {
	limit string // "requests", "input tokens" or "output tokens"
	rate  int64
	wait  time.Duration
}

// Admit charges one request with its billed input, or returns a Refusal and charges nothing. Output
// is charged when it is produced: one remaining token is enough to admit a request.
func (m *Meter) Admit(input int64, now time.Time) *Refusal {
	m.refill(now)
	worst := Refusal{}
	for _, r := range []Refusal{
		{"requests", m.requests.limit, m.requests.wait(1)},
		{"input tokens", m.input.limit, m.input.wait(float64(input))},
		{"output tokens", m.output.limit, m.output.wait(1)},
	} {
		if r.wait > worst.wait {
			worst = r
		}
	}
	if worst.wait > 0 {
		return &worst
	}
	if m.requests.limit > 0 {
		m.requests.level--
	}
	if m.input.limit > 0 {
		m.input.level -= float64(input)
		if !m.limits.Debt {
			m.input.level = max(m.input.level, 0)
		}
	}
	return nil
}

// SpendOutput charges the produced output tokens.
func (m *Meter) SpendOutput(tokens int64, now time.Time) {
	if m.output.limit == 0 {
		return
	}
	m.output.refill(now)
	m.output.level -= float64(tokens)
}

// WriteHeaders sets the anthropic-ratelimit-* headers of the configured limits.
func (m *Meter) WriteHeaders(h http.Header, now time.Time) {
	m.refill(now)
	writeBucket(h, "requests", &m.requests, 1)
	writeBucket(h, "input-tokens", &m.input, 1000)
	writeBucket(h, "output-tokens", &m.output, 1000)
	strictest := &m.input
	if m.output.remainingShare() < m.input.remainingShare() {
		strictest = &m.output
	}
	writeBucket(h, "tokens", strictest, 1000)
}

// writeBucket sets the headers of one bucket. It rounds the remaining amount to a multiple of step,
// as the API does for tokens.
func writeBucket(h http.Header, name string, b *bucket, step int64) {
	if b.limit == 0 {
		return
	}
	remaining := max(int64(b.level), 0)
	if step > 1 {
		remaining = (remaining + step/2) / step * step
	}
	prefix := "Anthropic-Ratelimit-" + name
	h.Set(prefix+"-Limit", strconv.FormatInt(b.limit, 10))
	h.Set(prefix+"-Remaining", strconv.FormatInt(min(remaining, b.limit), 10))
	reset := b.fullAt().Add(time.Second - 1).Truncate(time.Second)
	h.Set(prefix+"-Reset", reset.UTC().Format(time.RFC3339))
}

// RetryAfter returns the seconds after which the request fits, rounded up, as in the Retry-After
// header.
func (r Refusal) RetryAfter() string {
	return strconv.Itoa(int(math.Ceil(r.wait.Seconds())))
}

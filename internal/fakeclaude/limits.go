package fakeclaude

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Limits are the rate limits of one account, per minute and per model family.
// 0 means no such limit, and then no headers about it either.
type Limits struct {
	Requests     int64 `json:"requests"`
	InputTokens  int64 `json:"input_tokens"` // input and cache writes; cache reads are free
	OutputTokens int64 `json:"output_tokens"`
	// Debt lets one prompt larger than what is left of InputTokens drive the bucket
	// below zero, where otherwise it empties it.
	Debt bool `json:"debt"`
}

func (l Limits) validate() error {
	if min(l.Requests, l.InputTokens, l.OutputTokens) < 0 {
		return errors.New("limits: negative")
	}
	return nil
}

// bucket is a token bucket that refills continuously and holds one minute's worth.
type bucket struct {
	limit int64 // per minute and capacity; 0 = unlimited
	level float64
	at    time.Time // when level was true
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

// wait is how long until need fits in; a need above the capacity fits a full bucket.
func (b *bucket) wait(need float64) time.Duration {
	if b.limit == 0 {
		return 0
	}
	missing := min(need, float64(b.limit)) - b.level
	if missing < 1e-6 { // rounding of an earlier wait must not refuse again
		return 0
	}
	return time.Duration(missing / float64(b.limit) * float64(time.Minute))
}

func (b *bucket) full() time.Time {
	missing := float64(b.limit) - b.level
	return b.at.Add(time.Duration(missing / float64(b.limit) * float64(time.Minute)))
}

func (b *bucket) left() float64 {
	if b.limit == 0 {
		return math.Inf(1)
	}
	return b.level / float64(b.limit)
}

// Meter holds the rate limits of one account for one model family. Not safe for concurrent use.
type Meter struct {
	limits                  Limits
	requests, input, output bucket
}

// NewMeter returns full buckets.
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

// Refusal is why a request was not admitted and for how long.
type Refusal struct {
	limit string // "requests", "input tokens" or "output tokens"
	rate  int64
	wait  time.Duration
}

// Admit charges one request with its billed input, or refuses and charges nothing.
// Output is charged when it is produced, so one token left is enough to be admitted.
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

// SpendOutput charges output tokens that were produced.
func (m *Meter) SpendOutput(tokens int64, now time.Time) {
	if m.output.limit == 0 {
		return
	}
	m.output.refill(now)
	m.output.level -= float64(tokens)
}

// WriteHeaders sets the anthropic-ratelimit-* headers of the limits that exist.
func (m *Meter) WriteHeaders(h http.Header, now time.Time) {
	m.refill(now)
	writeBucket(h, "requests", &m.requests, 1)
	writeBucket(h, "input-tokens", &m.input, 1000)
	writeBucket(h, "output-tokens", &m.output, 1000)
	strictest := &m.input
	if m.output.left() < m.input.left() {
		strictest = &m.output
	}
	writeBucket(h, "tokens", strictest, 1000)
}

// writeBucket rounds what remains to a multiple of step, as the API does for tokens.
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
	reset := b.full().Add(time.Second - 1).Truncate(time.Second)
	h.Set(prefix+"-Reset", reset.UTC().Format(time.RFC3339))
}

// RetryAfter is the whole number of seconds after which the refused request fits.
func (r Refusal) RetryAfter() string {
	return strconv.Itoa(int(math.Ceil(r.wait.Seconds())))
}

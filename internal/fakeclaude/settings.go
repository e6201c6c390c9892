package fakeclaude

import (
	"errors"
	"math"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// Options describe a Server. The zero value is an unlimited account that answers at once.
type Options struct {
	Name string // names the account; default "fake"
	Seed uint64 // answers depend on it and on the request; ids and the dice of faults on it and on the order of arrival

	Clock Clock // default: the machine's clock

	Keys     []string            // accepted credentials; with no Keys and no Accounts any credential will do, but there must be one
	Account  *Account            // whose cache and limits are used; default: an account of its own with Settings.Limits
	Accounts map[string]*Account // credential → account, beside Account, for one server that serves several organizations
	Models   []string            // ids served; empty: any id that contains "claude"

	KeepRequests int // how many requests Requests remembers: 0 means 1000, negative none

	Settings
}

// Settings can be changed while the server runs, with SetSettings or PUT /_fake/settings.
type Settings struct {
	// FirstToken is the time from the arrival of a request to the head of its answer.
	FirstToken Duration `json:"first_token"`
	// Prefill is added to FirstToken for every 1000 input tokens that the prompt cache does not hold.
	Prefill Duration `json:"prefill_per_1k"`
	// TokenInterval is the time one output token takes.
	TokenInterval Duration `json:"token_interval"`
	// PingInterval is the longest silence inside a stream; 0 means 10s.
	PingInterval Duration `json:"ping_interval"`
	// MinOutput and MaxOutput bound the tokens of an answer's text; both 0 means 20 and 120.
	MinOutput int `json:"min_output"`
	MaxOutput int `json:"max_output"`
	// CacheMin replaces the per-model minimum of a cacheable prefix, in tokens; 0 keeps the table.
	CacheMin int `json:"cache_min"`
	// BytesPerToken sets how many bytes of prompt count as one token; 0 means 4.
	BytesPerToken float64 `json:"bytes_per_token"`
	// Usage lists shapes of the usage object. Each response gets a random one of them, and the usual one if the list is empty.
	Usage []UsageShape `json:"usage,omitempty"`
	// Limits are the account's rate limits.
	Limits Limits `json:"limits"`
}

func (s Settings) withDefaults() Settings {
	if s.PingInterval == 0 {
		s.PingInterval = Duration(10 * time.Second)
	}
	if s.MinOutput == 0 && s.MaxOutput == 0 {
		s.MinOutput, s.MaxOutput = 20, 120
	}
	s.MaxOutput = max(s.MaxOutput, s.MinOutput)
	if s.BytesPerToken == 0 {
		s.BytesPerToken = 4
	}
	return s
}

// Validate says which value makes no sense.
func (s Settings) Validate() error {
	switch {
	case min(s.FirstToken, s.Prefill, s.TokenInterval, s.PingInterval) < 0:
		return errors.New("settings: a time is negative")
	case min(s.MinOutput, s.MaxOutput, s.CacheMin) < 0:
		return errors.New("settings: a number of tokens is negative")
	case s.MaxOutput > 1_000_000:
		return errors.New("settings: max_output is above 1000000")
	case s.MaxOutput != 0 && s.MaxOutput < s.MinOutput:
		return errors.New("settings: max_output is below min_output")
	case s.BytesPerToken < 0 || math.IsNaN(s.BytesPerToken) || math.IsInf(s.BytesPerToken, 0):
		return errors.New("settings: bytes_per_token is not a positive number")
	}
	if err := validateShapes(s.Usage); err != nil {
		return err
	}
	return s.Limits.validate()
}

// Duration is a time.Duration that JSON writes as "1m30s". It reads that form or a number of seconds.
type Duration = fault.Duration

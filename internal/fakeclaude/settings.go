package fakeclaude

import (
	"errors"
	"math"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// Options configure a Server. The zero value is an account without limits that responds
// immediately.
type Options struct {
	Name string // names the account; default "fake"
	Seed uint64 // of all random numbers

	Clock Clock // default: the system clock

	Keys     []string            // accepted credentials; without Keys and Accounts any credential is accepted, but one is required
	Account  *Account            // with the cache and limits to use; default: a new account with Settings.Limits
	Accounts map[string]*Account // by credential, besides Account: for one server that serves several organizations
	Models   []string            // ids of the models; empty: any id that contains "claude"

	KeepRequests int // how many requests the server keeps for Requests: 0 means 1000, a negative number means none

	Settings
}

// Settings can be changed while the server runs, with SetSettings or PUT /_fake/settings.
type Settings struct {
	// FirstToken is the time from the arrival of a request to the header of its response.
	FirstToken Duration `json:"first_token"`
	// Prefill is added to FirstToken for every 1000 input tokens that are not in the prompt cache.
	Prefill Duration `json:"prefill_per_1k"`
	// TokenInterval is the time per output token.
	TokenInterval Duration `json:"token_interval"`
	// PingInterval is the longest silence in a stream; 0 means 10s.
	PingInterval Duration `json:"ping_interval"`
	// MinOutput and MaxOutput bound the tokens in the text of a response; both 0 means 20 and 120.
	MinOutput int `json:"min_output"`
	MaxOutput int `json:"max_output"`
	// CacheMin is the minimum size of a cacheable prefix in tokens; 0 means the minimum of the
	// model.
	CacheMin int `json:"cache_min"`
	// BytesPerToken is the number of bytes of the prompt that count as one token; 0 means 4.
	BytesPerToken float64 `json:"bytes_per_token"`
	// Usage lists shapes of the usage object. Each response gets a random one of them, and the
	// usual one if the list is empty.
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

// Validate returns an error that names the invalid value.
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
	if err := validateUsageShapes(s.Usage); err != nil {
		return err
	}
	return s.Limits.validate()
}

// Duration is a time.Duration that JSON writes as "1m30s". It reads that form or a number of
// seconds.
type Duration = fault.Duration

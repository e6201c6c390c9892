package service

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// stalePeriod is how often the log repeats that a configuration older than the file is in force.
const stalePeriod = 10 * time.Minute

// staleness records since when and why the configuration file could not be put in force. The zero
// value means that it is in force.
type staleness struct {
	err           error
	since, logged time.Time
}

// begin records a failed reload, which has just been logged.
func (s *staleness) begin(err error, now time.Time) {
	if s.err == nil {
		s.since = now
	}
	s.err, s.logged = err, now
}

// takeReminder reports whether it is time to log the failure again, and if so counts it as logged.
func (s *staleness) takeReminder(now time.Time) bool {
	if s.err == nil || now.Sub(s.logged) < stalePeriod {
		return false
	}
	s.logged = now
	return true
}

// remindOfFailedReload logs once per stalePeriod that an older configuration is in force.
func (s *service) remindOfFailedReload(now time.Time) {
	if s.stale.takeReminder(now) {
		s.log.Error(telemetry.ConfigStale, telemetry.Config, s.file.path, telemetry.Err, s.stale.err,
			telemetry.Since, s.stale.since.UTC().Format(time.RFC3339), telemetry.Generation, s.gen)
	}
}

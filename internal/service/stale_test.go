package service

import (
	"errors"
	"testing"
	"time"
)

func TestAFailedReloadIsRepeated(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var s staleness
	if s.takeReminder(now) {
		t.Error("nothing has failed")
	}
	s.begin(errors.New("a"), now)
	if s.takeReminder(now.Add(stalePeriod - time.Second)) {
		t.Error("repeated too soon")
	}
	s.begin(errors.New("b"), now.Add(time.Minute))
	if s.takeReminder(now.Add(stalePeriod)) || !s.takeReminder(now.Add(stalePeriod+time.Minute)) || s.takeReminder(now.Add(stalePeriod+2*time.Minute)) {
		t.Error("not repeated once per period after the last failure")
	}
	if !s.since.Equal(now) || s.err.Error() != "b" {
		t.Errorf("%+v", s)
	}
}

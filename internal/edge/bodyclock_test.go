package edge

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// deadlined records when its body was ended.
type deadlined struct {
	*httptest.ResponseRecorder
	ended time.Time
}

func (d *deadlined) SetReadDeadline(time.Time) error {
	d.ended = time.Now()
	return nil
}

func TestBodyClock(t *testing.T) {
	f := func(late, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			inner := &deadlined{ResponseRecorder: httptest.NewRecorder()}
			c := &bodyClock{ResponseWriter: inner}
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			if late > 0 { // the process is suspended
				c.timer.Stop()
				time.Sleep(time.Minute + late)
				c.expire()
			}
			resumed := time.Now()
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := inner.ended.Sub(resumed); got != want {
				t.Errorf("late by %v: ended after %v, not %v", late, got, want)
			}
			inner.ended = time.Time{}
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			c.stop()
			time.Sleep(time.Hour)
			synctest.Wait()
			if !inner.ended.IsZero() {
				t.Error("ended after it was stopped")
			}
		})
	}
	f(0, time.Minute)
	f(100*time.Millisecond, time.Second)
	f(5*time.Second, 10*time.Second)
	f(time.Hour, bodyStall)
}

// TestBodyClockOfASharedConnection: over HTTP/1.1 the deadline in net/http must not outlive the
// body.
func TestBodyClockOfASharedConnection(t *testing.T) {
	inner := &lastDeadline{ResponseRecorder: httptest.NewRecorder()}
	c := &bodyClock{ResponseWriter: inner, resetConn: true}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if inner.at != time.Unix(1, 0) {
		t.Errorf("the deadline is %v", inner.at)
	}
	c.stop()
	if !inner.at.IsZero() {
		t.Errorf("the deadline stays at %v", inner.at)
	}
}

// lastDeadline records the deadline in net/http.
type lastDeadline struct {
	*httptest.ResponseRecorder
	at time.Time
}

func (l *lastDeadline) SetReadDeadline(t time.Time) error {
	l.at = t
	return nil
}

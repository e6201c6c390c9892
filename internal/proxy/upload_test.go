package proxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// slow returns one byte per read.
type slow struct {
	pause time.Duration
	left  int
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	return copy(p, "x"), nil
}

// TestUploadMayTakeLong checks that an upload has no time limit while bytes arrive.
func TestUploadMayTakeLong(t *testing.T) {
	f := func(pause time.Duration, want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			limit := &verdict.TimeoutError{Waiting: "response", After: time.Minute}
			ctx, cancel := context.WithCancelCause(t.Context())
			w := &timeouts{cancel: cancel}
			defer w.stop()
			w.expect(forFirst, limit)
			u := NewUpload(&slow{pause, 20}, -1)
			u.onProgress(func() { w.expect(forFirst, limit) })
			if _, err := io.Copy(io.Discard, u); err != nil {
				t.Error(err)
			}
			u.onProgress(nil)
			if got := context.Cause(ctx); (got == nil) != (want == nil) {
				t.Errorf("a byte every %s: %v, want %v", pause, got, want)
			}
		})
	}
	f(50*time.Second, nil)
	f(61*time.Second, errors.New("it stalled"))
}

// TestUploadStateDoesNotWait checks that state does not wait for a slow client: an upstream may
// have refused the upload long before its end.
func TestUploadStateDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := NewUpload(&slow{time.Hour, 1}, -1)
		if begun, err := u.state(); begun || err != nil {
			t.Errorf("at first: %t, %v", begun, err)
		}
		var reading sync.WaitGroup
		reading.Go(func() { u.Read(make([]byte, 8)) })
		synctest.Wait()
		before := time.Now()
		if begun, err := u.state(); !begun || err != nil || time.Since(before) > 0 {
			t.Errorf("during the first read: %t, %v, after %s", begun, err, time.Since(before))
		}
		reading.Wait()
	})
}

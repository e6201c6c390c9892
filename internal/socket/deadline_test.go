package socket

import (
	"errors"
	"os"
	"testing"
	"time"
)

// TestLastAttempt checks the attempt after a deadline. A test cannot suspend its own process, so it
// runs the steps one by one.
func TestLastAttempt(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	c := New(near)
	late := time.Now().Add(-time.Second)
	c.deadlines.read, c.deadlines.write = late, late
	r, w := &c.readOp, &c.writeOp
	r.p = make([]byte, 16)
	if c.retryRead(os.ErrDeadlineExceeded) || !c.deadlines.read.Equal(late) {
		t.Error("a read succeeded without data")
	}
	if _, err := far.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	for c.IdleAlive() { // until the bytes have arrived
	}
	if c.retryRead(errors.New("reset")) {
		t.Error("read after another error")
	}
	if !c.retryRead(os.ErrDeadlineExceeded) || r.n != 3 || string(r.p[:3]) != "abc" {
		t.Errorf("%d bytes", r.n)
	}
	if left := time.Until(c.deadlines.read); left < time.Second/2 || left > maxGrace {
		t.Errorf("the deadline for reading moved to %v", left)
	}
	if !rawSyscalls {
		return
	}
	w.left = [maxPieces][]byte{[]byte("abc")}
	if !c.retryWrite(os.ErrDeadlineExceeded) || w.n != 3 {
		t.Errorf("%d bytes written", w.n)
	}
	if left := time.Until(c.deadlines.write); left < time.Second/2 || left > maxGrace {
		t.Errorf("the deadline for writing moved to %v", left)
	}
}

func TestExtendDeadline(t *testing.T) {
	now := time.Now()
	f := func(deadline time.Time, want time.Duration) {
		t.Helper()
		by, ok := extendDeadline(deadline, now)
		if ok != (want > 0) || ok && by.Sub(now) != want {
			t.Errorf("%v: %v, %v, not %v", deadline, by, ok, want)
		}
	}
	f(time.Time{}, 0)
	f(time.Unix(1, 0), 0)
	f(now.Add(time.Second), 0)
	f(now, minGrace)
	f(now.Add(-10*time.Millisecond), minGrace)
	f(now.Add(-3*time.Second), 6*time.Second)
	f(now.Add(-time.Hour), maxGrace)
}

// TestSuspension checks that a long write continues after a deadline that was noticed far too late,
// and ends at one that was noticed in time.
func TestSuspension(t *testing.T) {
	t.Parallel()
	near, _ := tcpPair(t)
	c := New(near)
	began := time.Now().Add(-time.Hour)
	f := func(deadline time.Time, err error, want bool) {
		t.Helper()
		c.deadlines.write = deadline
		if got := c.extendAfterSuspension(err, began); got != want {
			t.Errorf("%v, %v: %v", deadline, err, got)
		}
	}
	now := time.Now()
	f(now.Add(-time.Minute), os.ErrDeadlineExceeded, true)
	f(now.Add(time.Hour), os.ErrDeadlineExceeded, false)
	f(began.Add(-time.Second), os.ErrDeadlineExceeded, false) // it had passed before
	f(time.Unix(1, 0), os.ErrDeadlineExceeded, false)
	f(now.Add(-time.Minute), os.ErrClosed, false)
}

// TestDeadlineOfASilentPeer checks that the deadline holds, and that it also holds for the next
// Read although bytes are available.
func TestDeadlineOfASilentPeer(t *testing.T) {
	t.Parallel()
	over(t, []kind{reference(), ours()}, func(t *testing.T, k kind) {
		c, peer := k.connect(t)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := peer.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

package fakeclaude

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestManualClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewManualClock(midnight())
		woken := make(chan int, 3)
		for i, d := range []time.Duration{3 * time.Second, time.Second, 2 * time.Second} {
			go func() {
				if err := c.Sleep(t.Context(), d); err == nil {
					woken <- i
				}
			}()
		}
		synctest.Wait()
		if next, ok := c.NextWake(); !ok || next != time.Second {
			t.Errorf("next is %s, %t", next, ok)
		}
		for _, want := range []int{1, 2, 0} {
			next, _ := c.NextWake()
			c.Advance(next - 1)
			synctest.Wait()
			if len(woken) != 0 {
				t.Fatal("the sleeper was woken too early")
			}
			c.Advance(1)
			synctest.Wait()
			if len(woken) != 1 || <-woken != want {
				t.Fatalf("sleeper %d was not woken", want)
			}
		}
		if _, ok := c.NextWake(); ok || !c.Now().Equal(midnight().Add(3*time.Second)) {
			t.Errorf("it is %s", c.Now())
		}
	})
}

func TestManualClockForgetsCancelledSleepers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewManualClock(midnight())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		if _, ok := c.NextWake(); ok {
			t.Error("a sleeper is left after its context ended")
		}
	})
}

func TestSystemClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := systemClock{}
		if err := c.Sleep(t.Context(), time.Hour); err != nil || c.Now().Sub(start) != time.Hour {
			t.Errorf("slept %s, error %v", c.Now().Sub(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Sleep(ctx, time.Hour); err == nil || c.Now().Sub(start) != time.Hour+time.Second {
			t.Errorf("slept %s, error %v", c.Now().Sub(start), err)
		}
	})
}

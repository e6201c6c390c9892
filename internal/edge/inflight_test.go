package edge

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestInflightIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &inflight{limit: 100}
		first, ok := f.enter(t.Context(), time.Hour, 60)
		if !ok || f.more(50) || !f.more(10) {
			t.Fatal("the bound does not hold")
		}
		var mu sync.Mutex
		var order []int64
		for _, n := range []int64{90, 20, 500} {
			go func() {
				taken, ok := f.enter(t.Context(), time.Hour, n)
				if !ok {
					t.Error("not let in")
				}
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
				time.Sleep(time.Second)
				f.leave(taken)
			}()
			synctest.Wait()
		}
		f.leave(first)
		f.leave(10)
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(order) != "[90 20 500]" || f.bytes() != 0 {
			t.Errorf("%d, %d bytes left", order, f.bytes())
		}
	})
}

func TestWhoLeavesTheLineMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &inflight{limit: 100}
		f.enter(t.Context(), time.Hour, 50)
		ctx, leave := context.WithCancel(t.Context())
		refused := make(chan bool, 1)
		go func() { _, ok := f.enter(ctx, time.Hour, 90); refused <- !ok }()
		synctest.Wait()
		let := make(chan bool, 1)
		go func() { _, ok := f.enter(t.Context(), time.Hour, 40); let <- ok }()
		synctest.Wait()
		leave()
		if !<-refused || !<-let || f.bytes() != 90 {
			t.Errorf("%d bytes", f.bytes())
		}
		f.resize(0)
		if _, ok := f.enter(t.Context(), time.Hour, 1<<40); !ok {
			t.Error("no bound does not let in")
		}
	})
}

package quota

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// TestConcurrencyCountsFromTheBody checks that bodies take slots of their key while they are read.
// While all slots are taken, at most as many further bodies are read.
func TestConcurrencyCountsFromTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shop := open(t, config.ClientKey{Name: "ann", Key: config.NewSecret("k"), Concurrency: 2}, nil)
		b, k := shop.book, shop.key
		begin := func() *Seat {
			t.Helper()
			s, err := b.BeginBody(t.Context(), k, "s", time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		first, second := begin(), begin()
		if in, _ := k.account.slots.length(); in != 2 {
			t.Fatalf("%d slots are taken", in)
		}
		third, fourth := begin(), begin()
		if _, err := b.BeginBody(t.Context(), k, "s", time.Now().Add(time.Minute)); !errors.Is(err, ErrNoSlot) {
			t.Fatalf("a fifth body is read: %v", err)
		}
		third.BodyRead()
		entered := make(chan *Reservation, 1)
		go func() {
			p, err := b.Enter(t.Context(), k, Demand{Session: "s", Seat: third})
			if err != nil {
				t.Error(err)
			}
			entered <- p
		}()
		synctest.Wait()
		second.Leave() // its body ended early
		queued := <-entered
		p, err := b.Enter(t.Context(), k, Demand{Session: "another", Seat: first})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Seat{first, second, third, fourth, nil} {
			s.BodyRead()
			s.Leave()
			s.Leave()
		}
		if in, _ := k.account.slots.length(); in != 2 {
			t.Errorf("%d slots are taken", in)
		}
		p.leave(b)
		queued.leave(b)
		in, _ := k.account.slots.length()
		reading, _ := k.account.reading.length()
		if in != 0 || reading != 0 || len(k.account.slots.parties) != 0 {
			t.Errorf("%d slots and %d seats are taken, %v", in, reading, k.account.slots.parties)
		}
	})
}

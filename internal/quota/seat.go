package quota

import (
	"context"
	"fmt"
	"time"
)

// Seat is the place of a request whose body is being read. It is a free slot of the request's key,
// which the admitted request keeps, or else one of as many reading places, whose requests must wait
// for a slot later. So a key's concurrency counts from the first byte of a body. A key without such
// a limit has a nil Seat. One goroutine uses it at a time.
type Seat struct {
	account *account
	session string
	slot    bool // it is one of the slots
	left    bool // given back, or taken over by a Reservation
}

// BeginBody waits for a seat until ctx ends, or until a given time. The error is that of ctx,
// ErrNoSlot or a *Refusal.
func (b *Book) BeginBody(ctx context.Context, k *Key, session string, until time.Time) (*Seat, error) {
	if k == nil || k.spec.Concurrency == 0 {
		return nil, nil
	}
	s := &Seat{account: k.account, session: session}
	if s.slot = k.account.slots.try(session); s.slot {
		return s, nil
	}
	in, full := k.account.reading.enter(ctx, until, session, 0)
	switch {
	case full:
		return nil, queueFull(fmt.Sprintf("Too many requests of the client key %s wait to be read: try again in a moment.", k.Name()))
	case !in:
		return nil, hasWaitedEnough(ctx)
	}
	return s, nil
}

// BodyRead gives a reading place back: the body has arrived, and the request queues for a slot. A
// slot is kept.
func (s *Seat) BodyRead() {
	if s != nil && !s.slot {
		s.Leave()
	}
}

// Leave gives the seat back, unless it was given back before or a Reservation has taken it over.
func (s *Seat) Leave() {
	if s == nil || s.left {
		return
	}
	s.left = true
	if s.slot {
		s.account.slots.leave(s.session)
		return
	}
	s.account.reading.leave(s.session)
}

// takeSlot takes over the slot of the seat, if it has one. It returns the session that holds the
// slot.
func (s *Seat) takeSlot() (session string, ok bool) {
	if s == nil || s.left || !s.slot {
		return "", false
	}
	s.left = true
	return s.session, true
}

package quota

import (
	"context"
	"fmt"
	"time"
)

// Seat is the place of a request whose body is being read: one of its key's slots if there is a free one, which the request keeps when it is let
// through, else one of as many places for bodies that are read while their requests will still have to wait for a slot. So a key's
// concurrency counts from the first byte of a body. A nil Seat is that of a key without such a limit. One goroutine uses it at a time.
type Seat struct {
	account *account
	session string
	slot    bool // it is one of the slots
	left    bool // or taken over by a Pass
}

// BeginBody finds a seat, waiting for it as long as ctx lasts and until a moment. The error is ctx's own, ErrNoSlot or a *Refusal.
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
		return nil, crowded(fmt.Sprintf("Too many requests of the client key %s wait to be read: try again in a moment.", k.Name()))
	case !in:
		return nil, waitedEnough(ctx)
	}
	return s, nil
}

// BodyRead gives the place back if it is none of the slots: the body is here, and the request queues for a slot.
func (s *Seat) BodyRead() {
	if s != nil && !s.slot {
		s.Leave()
	}
}

// Leave gives the place back, unless that was done before or a Pass has taken it over.
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

// takeSlot takes the slot over, if the seat is one. It returns the session that holds it.
func (s *Seat) takeSlot() (session string, ok bool) {
	if s == nil || s.left || !s.slot {
		return "", false
	}
	s.left = true
	return s.session, true
}

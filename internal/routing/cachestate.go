package routing

// accountCache is the known cache state of one account for a prompt. A part that is not cached is
// the zero holder.
type accountCache struct {
	domain              uint64
	conversation        holder // the part of the conversation that makes the account its home
	conversationPending holder // a part of the conversation that is being written
	prefix              holder // the longest readable prefix besides
	prefixPending       holder // the longest prefix that is being written
}

func (h *holder) none() bool { return h.expires == 0 }

// accountCaches holds the cache states of all accounts that have one. A look-up takes constant
// time, because it happens for every endpoint, and every account has a common prefix of many
// conversations.
type accountCaches struct {
	list   []accountCache
	places map[uint64]int // index into list, by account; used beyond linearLimit
}

// linearLimit is the number of accounts up to which a linear search is faster than a map.
const linearLimit = 8

func (s *accountCaches) reset() {
	if len(s.list) > linearLimit {
		clear(s.places)
	}
	s.list = s.list[:0]
}

// of returns the cache state of an account, nil if it has none.
func (s *accountCaches) of(domain uint64) *accountCache {
	if len(s.list) > linearLimit {
		if i, ok := s.places[domain]; ok {
			return &s.list[i]
		}
		return nil
	}
	for i := range s.list {
		if s.list[i].domain == domain {
			return &s.list[i]
		}
	}
	return nil
}

// open returns the cache state of an account and creates it if needed. The result is valid until
// the next call of open.
func (s *accountCaches) open(domain uint64) *accountCache {
	if known := s.of(domain); known != nil {
		return known
	}
	s.list = append(s.list, accountCache{domain: domain})
	last := len(s.list) - 1
	switch {
	case last < linearLimit:
	case last > linearLimit:
		s.places[domain] = last
	default: // one more than linearLimit
		if s.places == nil {
			s.places = map[uint64]int{}
		}
		for i := range s.list {
			s.places[s.list[i].domain] = i
		}
	}
	return &s.list[last]
}

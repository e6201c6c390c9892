package routing

// accountCache is what one account has of a prompt, as far as is known: each part is the zero holder where it has none.
type accountCache struct {
	domain              uint64
	conversation        holder // so much of the conversation that it is at home there
	conversationPending holder // of the conversation, on its way there
	prefix              holder // what else it holds: the longest that can be read
	prefixPending       holder // the longest of that on its way
}

func (h *holder) none() bool { return h.expires == 0 }

// accountCaches are those of all accounts that have one. Looking one up takes the same time however many there are: every
// endpoint is asked for, and what many conversations begin with is held by every account.
type accountCaches struct {
	list   []accountCache
	places map[uint64]int // in list, by account; used beyond few
}

// few is how many stakes are found faster by looking at each.
const few = 8

func (s *accountCaches) reset() {
	if len(s.list) > few {
		clear(s.places)
	}
	s.list = s.list[:0]
}

// of is the stake of an account, nil when it has none.
func (s *accountCaches) of(domain uint64) *accountCache {
	if len(s.list) > few {
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

// open is of, with a new stake for an account that has none. It is good until the next one is opened.
func (s *accountCaches) open(domain uint64) *accountCache {
	if known := s.of(domain); known != nil {
		return known
	}
	s.list = append(s.list, accountCache{domain: domain})
	last := len(s.list) - 1
	switch {
	case last < few:
	case last > few:
		s.places[domain] = last
	default: // one more than few
		if s.places == nil {
			s.places = map[uint64]int{}
		}
		for i := range s.list {
			s.places[s.list[i].domain] = i
		}
	}
	return &s.list[last]
}

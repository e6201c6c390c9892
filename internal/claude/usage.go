package claude

// Usage is what an answer says that it cost, in tokens but for WebSearchRequests.
type Usage struct {
	InputTokens           int64 // of the prompt, neither read from the cache nor written to it
	OutputTokens          int64
	CacheReadTokens       int64
	CacheCreation5mTokens int64 // also those of which the answer does not tell the lifetime
	CacheCreation1hTokens int64
	WebSearchRequests     int64
	ServiceTier           string
}

// CacheCreationTokens is what was written to the prompt cache, for whatever lifetime.
func (u Usage) CacheCreationTokens() int64 {
	return u.CacheCreation5mTokens + u.CacheCreation1hTokens
}

// TotalInputTokens is the size of the whole prompt (prompt-caching docs).
func (u Usage) TotalInputTokens() int64 {
	return u.InputTokens + u.CacheReadTokens + u.CacheCreationTokens()
}

// scan overwrites the fields that the usage object which comes next has. Counts
// are cumulative (streaming docs): they are never added up, and a zero does not
// undo a count, since some relays fill what they do not know with zeros.
func (u *Usage) scan(s *scanner) {
	var cacheCreation int64
	for name := range s.members {
		switch string(name) {
		case "input_tokens":
			s.count(&u.InputTokens)
		case "output_tokens":
			s.count(&u.OutputTokens)
		case "cache_read_input_tokens":
			s.count(&u.CacheReadTokens)
		case "cache_creation_input_tokens":
			s.count(&cacheCreation)
		case "cache_creation":
			u.scanCacheCreation(s)
		case "server_tool_use":
			u.scanServerTools(s)
		case "service_tier":
			if tier, ok := s.string(); ok {
				u.ServiceTier = tier
			}
		}
	}
	u.splitCacheCreation(cacheCreation)
}

func (u *Usage) scanCacheCreation(s *scanner) {
	for name := range s.members {
		switch string(name) {
		case "ephemeral_5m_input_tokens":
			s.count(&u.CacheCreation5mTokens)
		case "ephemeral_1h_input_tokens":
			s.count(&u.CacheCreation1hTokens)
		}
	}
}

func (u *Usage) scanServerTools(s *scanner) {
	for name := range s.members {
		if string(name) == "web_search_requests" {
			s.count(&u.WebSearchRequests)
		}
	}
}

// splitCacheCreation fits the two lifetimes to a total that came without them, as
// message_delta has it. What had one lifetime so far keeps it.
func (u *Usage) splitCacheCreation(total int64) {
	if total == 0 || total == u.CacheCreationTokens() {
		return
	}
	if u.CacheCreation5mTokens > 0 {
		u.CacheCreation1hTokens = min(u.CacheCreation1hTokens, total)
	} else if u.CacheCreation1hTokens > 0 {
		u.CacheCreation1hTokens = total
	}
	u.CacheCreation5mTokens = total - u.CacheCreation1hTokens
}

// maxCount is far beyond every context window. What is told beyond it is nonsense, and would make sums over many answers overflow.
const maxCount = 100_000_000

// count takes the value that comes next and stores it if it is a positive number, at most maxCount.
func (s *scanner) count(to *int64) {
	if n, ok := s.integer(); ok && n > 0 {
		*to = min(n, maxCount)
	}
}

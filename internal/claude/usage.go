package claude

// Usage is the usage that a response, or one model call within it, reports.
type Usage struct {
	InputTokens           int64 // of the prompt, neither read from the cache nor written to it
	OutputTokens          int64
	CacheReadTokens       int64
	CacheCreation5mTokens int64 // also those whose lifetime the answer does not report
	CacheCreation1hTokens int64
	WebSearchRequests     int64
	CodeRequests          int64 // of the code execution tool
	OtherToolRequests     int64 // of server tools that this program does not know

	// What the price depends on, "" if the answer does not report it.
	ServiceTier  string
	Speed        string
	InferenceGeo string
}

// CacheCreationTokens is what was written to the prompt cache, for whatever lifetime.
func (u Usage) CacheCreationTokens() int64 {
	return u.CacheCreation5mTokens + u.CacheCreation1hTokens
}

// TotalInputTokens is the size of the whole prompt (prompt-caching docs).
func (u Usage) TotalInputTokens() int64 {
	return u.InputTokens + u.CacheReadTokens + u.CacheCreationTokens()
}

// Plus adds the counts of another model call. The service tier, speed and region stay those of u.
func (u Usage) Plus(o Usage) Usage { return u.combine(o, 1) }

// Minus subtracts the counts of a model call from u. No count becomes negative.
func (u Usage) Minus(o Usage) Usage { return u.combine(o, -1) }

func (u Usage) combine(o Usage, sign int64) Usage {
	for _, each := range [...]struct {
		to *int64
		n  int64
	}{
		{&u.InputTokens, o.InputTokens}, {&u.OutputTokens, o.OutputTokens}, {&u.CacheReadTokens, o.CacheReadTokens},
		{&u.CacheCreation5mTokens, o.CacheCreation5mTokens}, {&u.CacheCreation1hTokens, o.CacheCreation1hTokens},
		{&u.WebSearchRequests, o.WebSearchRequests}, {&u.CodeRequests, o.CodeRequests}, {&u.OtherToolRequests, o.OtherToolRequests},
	} {
		*each.to = max(*each.to+sign*each.n, 0)
	}
	return u
}

// sameTokens reports whether two usages have the same counts of tokens.
func (u Usage) sameTokens(o Usage) bool {
	return u.InputTokens == o.InputTokens && u.OutputTokens == o.OutputTokens && u.CacheReadTokens == o.CacheReadTokens &&
		u.CacheCreationTokens() == o.CacheCreationTokens()
}

// Reported is the set of parts of a usage that an upstream reported in usable counts.
type Reported uint8

// The parts.
const (
	ReportedInput        Reported = 1 << iota
	ReportedOutput                // the final count: message_start has only a first one
	ReportedInvalidInput          // some count of the prompt could not be used
	ReportedInvalid               // so could another one, or two contradict each other
)

// usageCounts are the counts of one usage object.
type usageCounts struct {
	input, output, read       count
	created, fresh5m, fresh1h count // to the cache: in all, and by lifetime
}

// scan overwrites the fields that the usage object which comes next has, and replaces the iterations
// unless they are nil. Counts are cumulative (streaming docs): they are never added up.
func (u *Usage) scan(s *scanner, iterations *[]Iteration) Reported {
	var c usageCounts
	odd := false
	for name := range s.members {
		switch string(name) {
		case "input_tokens":
			c.input = s.count()
		case "output_tokens":
			c.output = s.count()
		case "cache_read_input_tokens":
			c.read = s.count()
		case "cache_creation_input_tokens":
			c.created = s.count()
		case "cache_creation":
			c.scanCreation(s)
		case "server_tool_use":
			odd = u.scanServerTools(s) || odd
		case "service_tier":
			s.word(&u.ServiceTier)
		case "speed":
			s.word(&u.Speed)
		case "inference_geo":
			s.word(&u.InferenceGeo)
		case "iterations":
			if iterations != nil {
				scanIterations(s, iterations)
			}
		}
	}
	return u.take(&c, odd)
}

func (c *usageCounts) scanCreation(s *scanner) {
	for name := range s.members {
		switch string(name) {
		case "ephemeral_5m_input_tokens":
			c.fresh5m = s.count()
		case "ephemeral_1h_input_tokens":
			c.fresh1h = s.count()
		}
	}
}

// scanServerTools reports whether a count could not be used. Fetching pages and searching tools costs
// nothing but tokens (pricing page).
func (u *Usage) scanServerTools(s *scanner) (odd bool) {
	other := int64(0)
	for name := range s.members {
		to := &other
		switch string(name) {
		case "web_search_requests":
			to = &u.WebSearchRequests
		case "code_execution_requests":
			to = &u.CodeRequests
		case "web_fetch_requests", "tool_search_requests":
			continue
		}
		switch n := s.count(); {
		case to == &other:
			other += n.n
		case n.counted && n.n > 0:
			*to = n.n
		default:
			odd = odd || n.refused
		}
	}
	if other > 0 {
		u.OtherToolRequests = other
	}
	return odd
}

// take overwrites u with the counts of a usage object. A zero is accepted if another count of the prompt is
// not zero. Zeros alone do not replace earlier counts, because some relays send them for unknown counts.
func (u *Usage) take(c *usageCounts, odd bool) Reported {
	beside := c.input.n+c.read.n+c.created.n+c.fresh5m.n+c.fresh1h.n > 0
	var r Reported
	set := func(to *int64, c count, hole Reported) {
		switch {
		case c.counted && (c.n > 0 || beside):
			*to = c.n
		case c.refused && *to == 0:
			r |= hole
		case c.refused:
			r |= ReportedInvalid
		}
	}
	set(&u.InputTokens, c.input, ReportedInvalidInput)
	set(&u.OutputTokens, c.output, ReportedInvalid)
	set(&u.CacheReadTokens, c.read, ReportedInvalidInput)
	set(&u.CacheCreation5mTokens, c.fresh5m, ReportedInvalidInput)
	set(&u.CacheCreation1hTokens, c.fresh1h, ReportedInvalidInput)
	split := c.fresh5m.n + c.fresh1h.n
	switch {
	case c.created.n > 0:
		odd = odd || split > 0 && split != c.created.n
		u.splitCacheCreation(c.created.n)
	case c.created.counted && beside && split == 0:
		u.CacheCreation5mTokens, u.CacheCreation1hTokens = 0, 0
	case c.created.refused && u.CacheCreationTokens() == 0:
		r |= ReportedInvalidInput
	}
	if c.input.counted || beside {
		r |= ReportedInput
	}
	if c.output.counted {
		r |= ReportedOutput
	}
	if odd {
		r |= ReportedInvalid
	}
	return r
}

// splitCacheCreation fits the two lifetimes to a total that came without them, as
// message_delta has it. What had one lifetime so far keeps it.
func (u *Usage) splitCacheCreation(total int64) {
	if total == u.CacheCreationTokens() {
		return
	}
	if u.CacheCreation5mTokens > 0 {
		u.CacheCreation1hTokens = min(u.CacheCreation1hTokens, total)
	} else if u.CacheCreation1hTokens > 0 {
		u.CacheCreation1hTokens = total
	}
	u.CacheCreation5mTokens = total - u.CacheCreation1hTokens
}

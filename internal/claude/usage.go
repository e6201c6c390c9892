package claude

// Usage is the usage that a response, or one model call within it, reports.
type Usage struct {
	InputTokens           int64 // of the prompt, neither read from the cache nor written to it
	OutputTokens          int64
	CacheReadTokens       int64
	CacheCreation5mTokens int64 // with those whose lifetime the response does not report
	CacheCreation1hTokens int64
	WebSearchRequests     int64
	CodeRequests          int64 // of the code execution tool
	OtherToolRequests     int64 // of server tools that this program does not know

	// The price depends on these. They are "" if the response does not report them.
	ServiceTier  string
	Speed        string
	InferenceGeo string
}

// CacheCreationTokens returns the tokens that were written to the prompt cache, for any lifetime.
func (u Usage) CacheCreationTokens() int64 {
	return u.CacheCreation5mTokens + u.CacheCreation1hTokens
}

// TotalInputTokens returns the size of the whole prompt (prompt-caching docs).
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

// Reported is the set of parts of a usage that an upstream reported.
type Reported uint8

// The parts.
const (
	ReportedInput        Reported = 1 << iota
	ReportedOutput                // the final count: message_start has only an initial one
	ReportedInvalidInput          // a count of the prompt is not valid
	ReportedInvalid               // another count is not valid, or two contradict each other
)

// usageCounts are the counts of one usage object.
type usageCounts struct {
	input, output, read       count
	created, write5m, write1h count // written to the cache: the total, and by lifetime
}

// scan reads the next value, a usage object, and overwrites the fields that it has. It replaces the
// iterations unless they are nil. Counts are cumulative (streaming docs), so they are never added.
func (u *Usage) scan(s *scanner, iterations *[]Iteration) Reported {
	var c usageCounts
	invalid := false
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
			invalid = u.scanServerTools(s) || invalid
		case "service_tier":
			s.enumString(&u.ServiceTier)
		case "speed":
			s.enumString(&u.Speed)
		case "inference_geo":
			s.enumString(&u.InferenceGeo)
		case "iterations":
			if iterations != nil {
				scanIterations(s, iterations)
			}
		}
	}
	return u.apply(&c, invalid)
}

func (c *usageCounts) scanCreation(s *scanner) {
	for name := range s.members {
		switch string(name) {
		case "ephemeral_5m_input_tokens":
			c.write5m = s.count()
		case "ephemeral_1h_input_tokens":
			c.write1h = s.count()
		}
	}
}

// scanServerTools reports whether a count is not valid. Fetching pages and searching tools costs
// only tokens (pricing page).
func (u *Usage) scanServerTools(s *scanner) (invalid bool) {
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
		case n.valid && n.n > 0:
			*to = n.n
		default:
			invalid = invalid || n.invalid
		}
	}
	if other > 0 {
		u.OtherToolRequests = other
	}
	return invalid
}

// apply overwrites u with the counts of a usage object. A zero is accepted if another count of the
// prompt is not zero. Zeros alone do not replace earlier counts, because some relays send them for
// unknown counts.
func (u *Usage) apply(c *usageCounts, invalid bool) Reported {
	nonZero := c.input.n+c.read.n+c.created.n+c.write5m.n+c.write1h.n > 0
	var r Reported
	set := func(to *int64, c count, missing Reported) {
		switch {
		case c.valid && (c.n > 0 || nonZero):
			*to = c.n
		case c.invalid && *to == 0:
			r |= missing
		case c.invalid:
			r |= ReportedInvalid
		}
	}
	set(&u.InputTokens, c.input, ReportedInvalidInput)
	set(&u.OutputTokens, c.output, ReportedInvalid)
	set(&u.CacheReadTokens, c.read, ReportedInvalidInput)
	set(&u.CacheCreation5mTokens, c.write5m, ReportedInvalidInput)
	set(&u.CacheCreation1hTokens, c.write1h, ReportedInvalidInput)
	split := c.write5m.n + c.write1h.n
	switch {
	case c.created.n > 0:
		invalid = invalid || split > 0 && split != c.created.n
		u.splitCacheCreation(c.created.n)
	case c.created.valid && nonZero && split == 0:
		u.CacheCreation5mTokens, u.CacheCreation1hTokens = 0, 0
	case c.created.invalid && u.CacheCreationTokens() == 0:
		r |= ReportedInvalidInput
	}
	if c.input.valid || nonZero {
		r |= ReportedInput
	}
	if c.output.valid {
		r |= ReportedOutput
	}
	if invalid {
		r |= ReportedInvalid
	}
	return r
}

// splitCacheCreation divides a total without lifetimes, as message_delta reports it, into the two
// lifetimes. Tokens with a known lifetime keep it.
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

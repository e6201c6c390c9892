package claude

// Iteration is one model call within a response (usage.iterations).
type Iteration struct {
	Type  string
	Model string // "" if it is that of the response
	Usage Usage
}

// The types of iterations. Calls of type message, or of the fallback model that served the
// response, produced it. The top-level usage includes the output of all of them, but in responses
// with an advisor only the prompt of the first one (docs: advisor tool, which says to compute costs
// from the iterations). The top-level usage leaves out the calls of other types, which are billed
// all the same (SDK: BetaUsage.Iterations; docs: advisor tool, compaction, refusals and fallback):
//
//   - advisor_message: a call of the advisor's model, at that model's price;
//   - compaction: the summary of a context that was too long, by the model of the response;
//   - message of another model in a response that a fallback served: a model that declined. It is not
//     billed if it declined before its first output.
const (
	iterationMessage    = "message"
	IterationFallback   = "fallback_message"
	iterationAdvisor    = "advisor_message"
	iterationCompaction = "compaction"
)

// maxIterations bounds the iterations of one response. Further calls are added to the last one of
// their kind.
const maxIterations = 64

// scanIterations reads the next value, an array, and replaces the iterations.
func scanIterations(s *scanner, all *[]Iteration) {
	if s.peek() != '[' {
		return // the caller skips it
	}
	*all = (*all)[:0]
	for range s.elements {
		var each Iteration
		at := s.at
		for name := range s.members {
			switch string(name) {
			case "type":
				each.Type = iterationType(s.value())
			case "model":
				s.replace(&each.Model)
			}
		}
		inner := scanner{text: s.text[at:s.at]}
		each.Usage.scan(&inner, nil)
		*all = addIteration(*all, each)
	}
}

// iterationType returns the value of a JSON string. Known types need no allocation.
func iterationType(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	for _, known := range [...]string{iterationMessage, IterationFallback, iterationAdvisor, iterationCompaction} {
		if string(raw[1:len(raw)-1]) == known {
			return known
		}
	}
	text := decodeString(raw)
	return text[:min(len(text), maxEnumString)]
}

func addIteration(all []Iteration, each Iteration) []Iteration {
	if len(all) < maxIterations {
		return append(all, each)
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Type == each.Type && all[i].Model == each.Model {
			all[i].Usage = all[i].Usage.Plus(each.Usage)
			break
		}
	}
	return all
}

// Bill is the billable usage of a response.
type Bill struct {
	Usage   Usage       // of the model of the response
	Calls   []Usage     // the calls whose sum is Usage, if the response reports several
	Extra   []Iteration // calls that Usage leaves out
	Unknown string      // an iteration type that this program does not know, or ""
	// Free reports that Usage is not billed: the model declined before its first output (docs:
	// refusals and fallback, how refusals are billed). The counts are reported all the same.
	Free bool
}

// Bill divides the usage u of m among the calls that m reports.
func (m *Message) Bill(u Usage) Bill {
	b := Bill{Usage: u, Free: m.StopReason == "refusal" && m.EstimatedOutput == 0}
	if len(m.Iterations) > 0 {
		m.divide(&b)
	}
	return b
}

// divide completes a Bill for a message with iterations. It is not inlined: most messages have no
// iterations, and its locals would enlarge the stack of every open stream.
//
//go:noinline
func (m *Message) divide(b *Bill) {
	u := b.Usage
	var sum, foreign Usage // of the calls that the top level may be the sum of
	var declined []Iteration
	for _, each := range m.Iterations {
		switch each.Type {
		case iterationAdvisor, iterationCompaction:
			b.Extra = append(b.Extra, each)
			continue
		case iterationMessage, IterationFallback:
			sum = sum.Plus(each.Usage)
		default:
			b.Unknown = each.Type
			continue
		}
		if each.Model == "" || m.Model == "" || SameModel(each.Model, m.Model) {
			b.Calls = append(b.Calls, each.Usage)
			continue
		}
		foreign = foreign.Plus(each.Usage)
		if each.Usage.OutputTokens > 0 {
			declined = append(declined, each)
		}
	}
	if len(declined) > 0 || foreign != (Usage{}) {
		b.Extra = append(b.Extra, declined...)
		if u.sameTokens(sum) { // some upstreams add them up
			b.Usage = u.Minus(foreign)
		}
	}
	b.useCalls()
}

// useCalls sets Usage to the sum of the calls, unless they leave out a part of it.
func (b *Bill) useCalls() {
	var sum Usage
	for _, each := range b.Calls {
		sum = sum.Plus(each)
	}
	u := &b.Usage
	if len(b.Calls) < 2 || sum.InputTokens < u.InputTokens || sum.OutputTokens < u.OutputTokens || sum.CacheReadTokens < u.CacheReadTokens ||
		sum.CacheCreationTokens() < u.CacheCreationTokens() {
		b.Calls = nil
		return
	}
	u.InputTokens, u.OutputTokens, u.CacheReadTokens = sum.InputTokens, sum.OutputTokens, sum.CacheReadTokens
	u.CacheCreation5mTokens, u.CacheCreation1hTokens = sum.CacheCreation5mTokens, sum.CacheCreation1hTokens
}

// FellBack reports whether a fallback model served the response (SDK:
// BetaFallbackMessageIterationUsage).
func (m *Message) FellBack() bool {
	for i := range m.Iterations {
		if m.Iterations[i].Type == IterationFallback {
			return true
		}
	}
	return false
}

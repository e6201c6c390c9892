package fakeclaude

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// UsageShape is a form of the usage object that the API or a relay sends.
type UsageShape string

// The shapes.
const (
	UsageUsual      UsageShape = "usual"      // counts of tokens and the service tier
	UsageFast       UsageShape = "fast"       // fast mode
	UsageUS         UsageShape = "us"         // inference in the United States
	UsageBatch      UsageShape = "batch"      // service tier batch
	UsageSearch     UsageShape = "search"     // with web searches
	UsageAdvisor    UsageShape = "advisor"    // with a call of an advisor
	UsageCompaction UsageShape = "compaction" // with a compaction
	UsageFallback   UsageShape = "fallback"   // with a model that declined after some output
	UsageStrings    UsageShape = "strings"    // numbers as strings
	UsageNone       UsageShape = "none"       // without usage
	UsageZeros      UsageShape = "zeros"      // all counts are 0
)

// UsageShapes lists the shapes in the order of the documentation.
func UsageShapes() []UsageShape {
	return []UsageShape{
		UsageUsual, UsageFast, UsageUS, UsageBatch, UsageSearch, UsageAdvisor, UsageCompaction, UsageFallback, UsageStrings, UsageNone, UsageZeros,
	}
}

func validateUsageShapes(shapes []UsageShape) error {
	for _, s := range shapes {
		if !slices.Contains(UsageShapes(), s) {
			return fmt.Errorf("settings: unknown usage %q (known: %s)", s, fault.Join(UsageShapes()))
		}
	}
	return nil
}

// randomShape returns one of the shapes.
func randomShape(shapes []UsageShape, rng *rand.Rand) UsageShape {
	if len(shapes) == 0 {
		return UsageUsual
	}
	return shapes[rng.IntN(len(shapes))]
}

// apply changes the usage object of a message or of an event. final marks the last usage of a
// response.
func (s UsageShape) apply(text []byte, final bool) []byte {
	const name = `"usage":`
	i := bytes.LastIndex(text, []byte(name+"{"))
	if s == UsageUsual || i < 0 {
		return text
	}
	i += len(name)
	dec := json.NewDecoder(bytes.NewReader(text[i:]))
	dec.UseNumber()
	usage := map[string]any{}
	if dec.Decode(&usage) != nil {
		return text
	}
	shaped := mustMarshal(s.reshape(usage, final))
	return append(append(append([]byte{}, text[:i]...), shaped...), text[i+int(dec.InputOffset()):]...)
}

// reshape changes a usage object.
func (s UsageShape) reshape(usage map[string]any, final bool) any {
	own := map[string]any{"type": "message"}
	for _, count := range []string{"input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"} {
		own[count] = usage[count]
	}
	addIterations := func(more ...map[string]any) {
		if final {
			usage["iterations"] = append([]map[string]any{own}, more...)
		}
	}
	switch s {
	case UsageFast:
		usage["speed"] = "fast"
	case UsageUS:
		usage["inference_geo"] = "us"
	case UsageBatch:
		usage["service_tier"] = "batch"
	case UsageSearch:
		usage["server_tool_use"] = map[string]any{"web_search_requests": 2, "web_fetch_requests": 1}
	case UsageAdvisor:
		addIterations(map[string]any{"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 823, "output_tokens": 161})
	case UsageCompaction:
		addIterations(map[string]any{"type": "compaction", "input_tokens": 1800, "output_tokens": 350})
	case UsageFallback:
		own["type"] = "fallback_message"
		addIterations(map[string]any{"type": "message", "model": "claude-fable-5", "input_tokens": 90, "output_tokens": 7})
	case UsageStrings:
		for name, value := range usage {
			if n, isNumber := value.(json.Number); isNumber {
				usage[name] = n.String()
			}
		}
	case UsageNone:
		return nil
	case UsageZeros:
		for name, value := range usage {
			if _, isNumber := value.(json.Number); isNumber {
				usage[name] = 0
			}
		}
	}
	return usage
}

// applyTo applies the shape to the events of a stream.
func (s UsageShape) applyTo(events []event) {
	for i := range events {
		switch events[i].name {
		case "message_start":
			events[i].frame = s.apply(events[i].frame, false)
		case "message_delta":
			events[i].frame = s.apply(events[i].frame, true)
		}
	}
}

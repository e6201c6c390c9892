package observe

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const (
	// maxModels, maxClients and maxPairs bound the values that are told apart in the life of a process.
	maxModels  = 100
	maxClients = 1000
	maxPairs   = 3000 // of a client and a model
	// maxClasses bounds classes of models, which are few unless clients invent names.
	maxClasses = 20
	// maxLabel bounds the length of a value, in bytes.
	maxLabel = 100
)

// labels bounds the values that clients can bring about. Safe for concurrent use.
type labels struct {
	mu      sync.Mutex
	models  map[string]bool
	clients map[string]bool
	pairs   map[[2]string]bool
	classes map[string]bool
}

func newLabels() *labels {
	return &labels{models: map[string]bool{}, clients: map[string]bool{}, pairs: map[[2]string]bool{}, classes: map[string]bool{}}
}

// requester is a client and the model it asks for, as labels, and the model as a label where no client stands beside it. A
// model's name counts once it has been served: clients cannot use up the room with names that no server knows.
func (l *labels) requester(client, model string, served bool) (who, what, alone string) {
	client, model = clientLabel(client), clean(model)
	l.mu.Lock()
	defer l.mu.Unlock()
	who, alone = bounded(l.clients, maxClients, client, true), bounded(l.models, maxModels, model, served)
	pair := [2]string{who, alone}
	if !l.pairs[pair] {
		if len(l.pairs) >= maxPairs {
			return who, other, alone
		}
		l.pairs[pair] = true
	}
	return who, alone, alone
}

// class is a class of models as a label.
func (l *labels) class(class string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bounded(l.classes, maxClasses, clean(class), true)
}

// bounded returns a value that is known or, where it may be, becomes so while there is room.
func bounded(known map[string]bool, most int, value string, enter bool) string {
	switch {
	case value == none || known[value]:
		return value
	case !enter || len(known) >= most:
		return other
	}
	known[value] = true
	return value
}

// clientLabel is the name of a client key. Where no keys are asked for clients are known by their addresses, which are no labels.
func clientLabel(client string) string {
	if strings.ContainsAny(client, ".:") { // as in every address; an error costs memory
		if _, err := netip.ParseAddr(client); err == nil {
			return none
		}
	}
	return clean(client)
}

// clean makes a text fit for a label: valid UTF-8, not too long, not empty.
func clean(s string) string {
	if len(s) > maxLabel {
		s = s[:maxLabel]
	}
	if s = strings.ToValidUTF8(s, ""); s == "" {
		return none
	}
	return s
}

// endpointOf is one of a few names for what a path asks for.
func endpointOf(path string) string {
	switch {
	case path == claude.MessagesPath:
		return "messages"
	case path == claude.TokenCountPath:
		return "count_tokens"
	case within(path, claude.ModelsPath):
		return "models"
	case within(path, "/v1/messages/batches"):
		return "batches"
	case within(path, "/v1/files"):
		return "files"
	}
	return other
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// statusClass is "2xx" to "5xx", and none for a client that left before an answer.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return none
	}
	return [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[status/100-1]
}

// tokenKinds is how many kinds of tokens there are.
const tokenKinds = 5

// kinds lists the tokens of an answer by kind.
func kinds(u claude.Usage) [tokenKinds]struct {
	kind   string
	tokens int64
} {
	return [tokenKinds]struct {
		kind   string
		tokens int64
	}{
		{kindInput, u.InputTokens}, {kindOutput, u.OutputTokens}, {kindCacheRead, u.CacheReadTokens},
		{kindCacheCreation5m, u.CacheCreation5mTokens}, {kindCacheCreation1h, u.CacheCreation1hTokens},
	}
}

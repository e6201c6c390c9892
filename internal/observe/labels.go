package observe

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const (
	// maxModels, maxClients and maxPairs bound the distinct values during the life of a process.
	maxModels  = 100
	maxClients = 1000
	maxPairs   = 3000 // of a client and a model
	// maxClasses bounds classes of models, because clients may invent names.
	maxClasses = 20
	// maxLabel bounds the length of a value, in bytes.
	maxLabel = 100
)

// labels bounds the label values that clients control. Safe for concurrent use.
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

// requester returns the labels for a client and the model of its request, and the model's label
// without a client. A model counts only after it has been served, so that clients cannot use up the
// limit with names that no server knows.
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

// class returns the label for a class of models.
func (l *labels) class(class string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bounded(l.classes, maxClasses, clean(class), true)
}

// bounded returns value if it is known, or if it may be added and the limit is not reached;
// otherwise "other".
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

// clientLabel returns the name of a client key. Without keys, clients are known by their addresses,
// which are not used as labels.
func clientLabel(client string) string {
	if strings.ContainsAny(client, ".:") { // true for every address; parsing one costs an allocation
		if _, err := netip.ParseAddr(client); err == nil {
			return none
		}
	}
	return clean(client)
}

// clean makes a text valid for a label: valid UTF-8, bounded, not empty.
func clean(s string) string {
	if len(s) > maxLabel {
		s = s[:maxLabel]
	}
	if s = strings.ToValidUTF8(s, ""); s == "" {
		return none
	}
	return s
}

// endpointOf returns a label for the API's endpoint of a path.
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

// statusClass returns "2xx" to "5xx", or none for a client that left before a response.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return none
	}
	return [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[status/100-1]
}

// tokenKinds is the number of kinds of tokens.
const tokenKinds = 5

// kinds returns the tokens of a response by kind.
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

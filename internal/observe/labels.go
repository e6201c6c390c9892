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

// clientModel returns the labels for a client and the model of its request, and the model's label
// for metrics without a client. paired differs from alone if there are too many pairs of a client
// and a model. A model counts only after it has been served, so that clients cannot use up the
// limit with names that no server knows.
func (l *labels) clientModel(client, model string, served bool) (name, paired, alone string) {
	client, model = clientLabel(client), cleanLabel(model)
	l.mu.Lock()
	defer l.mu.Unlock()
	name, alone = boundedLabel(l.clients, maxClients, client, true), boundedLabel(l.models, maxModels, model, served)
	pair := [2]string{name, alone}
	if !l.pairs[pair] {
		if len(l.pairs) >= maxPairs {
			return name, other, alone
		}
		l.pairs[pair] = true
	}
	return name, alone, alone
}

// class returns the label for a class of models.
func (l *labels) class(class string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return boundedLabel(l.classes, maxClasses, cleanLabel(class), true)
}

// boundedLabel returns value if it is known, or if it may be added and the limit is not reached;
// otherwise "other".
func boundedLabel(known map[string]bool, limit int, value string, mayAdd bool) string {
	switch {
	case value == none || known[value]:
		return value
	case !mayAdd || len(known) >= limit:
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
	return cleanLabel(client)
}

// cleanLabel returns s as a valid label value: valid UTF-8, bounded, not empty.
func cleanLabel(s string) string {
	if len(s) > maxLabel {
		s = s[:maxLabel]
	}
	if s = strings.ToValidUTF8(s, ""); s == "" {
		return none
	}
	return s
}

// endpointOf returns the label for the API endpoint that a path belongs to.
func endpointOf(path string) string {
	switch {
	case path == claude.MessagesPath:
		return "messages"
	case path == claude.TokenCountPath:
		return "count_tokens"
	case isUnder(path, claude.ModelsPath):
		return "models"
	case isUnder(path, "/v1/messages/batches"):
		return "batches"
	case isUnder(path, "/v1/files"):
		return "files"
	}
	return other
}

func isUnder(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// statusClass returns "1xx" to "5xx", or none if the client left before a response.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return none
	}
	return [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[status/100-1]
}

// tokenKinds is the number of kinds of tokens.
const tokenKinds = 5

// tokensByKind returns the tokens of a response by kind.
func tokensByKind(u claude.Usage) [tokenKinds]struct {
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

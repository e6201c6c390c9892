package routing

import (
	"cmp"
	"slices"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// priorityTiers orders the servers of fallback mode, one per tier: first those with a priority, the
// smallest first; then those with priority 0, the largest weight first. Equal servers keep the
// order of the file. servers and endpoints have the same indexes.
func priorityTiers(servers []config.Server, endpoints []*upstream.Endpoint) [][]*upstream.Endpoint {
	order := make([]int, len(servers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := servers[i], servers[j]
		switch {
		case (a.Priority == 0) != (b.Priority == 0):
			return cmp.Compare(b.Priority, a.Priority)
		case a.Priority != b.Priority:
			return cmp.Compare(a.Priority, b.Priority)
		default:
			return cmp.Compare(b.Weight, a.Weight)
		}
	})
	var tiers [][]*upstream.Endpoint
	for _, i := range order {
		tiers = append(tiers, []*upstream.Endpoint{endpoints[i]})
	}
	return tiers
}

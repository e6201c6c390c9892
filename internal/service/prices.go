package service

import (
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// configuredPrices are the prices of the configuration. Prices of the cache that it does not set
// follow from the price of input by Anthropic's ratios.
func configuredPrices(cfg *config.Config) []ledger.Price {
	var prices []ledger.Price
	orDefault := func(price, otherwise float64) float64 {
		if price < 0 {
			return otherwise
		}
		return price
	}
	for _, p := range cfg.Prices {
		price := ledger.Price{
			Model: p.Model, Input: p.Input, Output: p.Output, Above: int64(p.Above),
			CacheRead:    orDefault(p.CacheRead, p.Input/10),
			CacheWrite5m: orDefault(p.CacheWrite5m, p.Input*5/4), CacheWrite1h: orDefault(p.CacheWrite1h, p.Input*2),
		}
		price.Speed = onlySet(map[string]float64{"fast": p.Fast})
		price.ServiceTier = onlySet(map[string]float64{"batch": p.Batch, "priority": p.Priority, "flex": p.Flex})
		price.InferenceGeo = onlySet(map[string]float64{"us": p.US, "eu": p.EU})
		price.ServerTools = onlySet(map[string]float64{ledger.WebSearch: p.WebSearch, ledger.CodeExecution: p.CodeExecution})
		prices = append(prices, price)
	}
	return prices
}

// onlySet deletes the fields that the configuration does not set.
func onlySet(of map[string]float64) map[string]float64 {
	for name, n := range of {
		if n < 0 {
			delete(of, name)
		}
	}
	return of
}

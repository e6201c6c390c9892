package service

import (
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// ownPrices are those of the configuration, the usual ratios filled in.
func ownPrices(cfg *config.Config) []ledger.Price {
	var prices []ledger.Price
	usual := func(price, otherwise float64) float64 {
		if price < 0 {
			return otherwise
		}
		return price
	}
	for _, p := range cfg.Prices {
		own := ledger.Price{
			Model: p.Model, Input: p.Input, Output: p.Output, Above: int64(p.Above), CacheRead: usual(p.CacheRead, p.Input/10),
			CacheWrite5m: usual(p.CacheWrite5m, p.Input*5/4), CacheWrite1h: usual(p.CacheWrite1h, p.Input*2),
		}
		own.Speed = written(map[string]float64{"fast": p.Fast})
		own.ServiceTier = written(map[string]float64{"batch": p.Batch, "priority": p.Priority, "flex": p.Flex})
		own.InferenceGeo = written(map[string]float64{"us": p.US, "eu": p.EU})
		own.ServerTools = written(map[string]float64{ledger.WebSearch: p.WebSearch, ledger.CodeExecution: p.CodeExecution})
		prices = append(prices, own)
	}
	return prices
}

// written leaves out fields that the configuration does not set.
func written(of map[string]float64) map[string]float64 {
	for name, n := range of {
		if n < 0 {
			delete(of, name)
		}
	}
	return of
}

package config

import (
	"fmt"
	"path"
)

// checkPrices checks the patterns for models, and contradicting numbers.
func (d *decoder) checkPrices(cfg *Config) {
	for i, p := range cfg.Prices {
		at := fmt.Sprintf("prices[%d]", i)
		n, ok := d.wrote(at + ".model")
		if !ok {
			continue
		}
		if _, err := path.Match(p.Model, ""); err != nil || p.Model == "" {
			d.errorf(n.offset, at+".model", `%s is not a pattern: "*" stands for anything, "?" for one character, "[5-8]" for one of them`, n.label())
		}
		d.checkPrice(at, n, p)
	}
}

func (d *decoder) checkPrice(at string, model node, p Price) {
	for _, name := range [...]string{
		"input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "fast", "batch", "priority", "flex", "us", "eu", "web_search", "code_execution",
	} {
		if n, ok := d.wrote(at + "." + name); ok && p.number(name) < 0 && p.number(name) != -1 { // -1 means unset
			d.errorf(n.offset, at+"."+name, "must not be negative")
			return
		}
	}
	if (p.Input < 0) != (p.Output < 0) {
		d.errorf(model.offset, at, `needs both "input" and "output", or neither to keep the list's`)
		return
	}
	if p.Input >= 0 {
		return
	}
	for _, name := range [...]string{"cache_read", "cache_write_5m", "cache_write_1h", "above"} {
		if n, ok := d.wrote(at + "." + name); ok {
			d.errorf(n.offset, at+"."+name, `needs "input" and "output" beside it`)
		}
	}
}

// number returns the value of a field by its name.
func (p *Price) number(name string) float64 {
	return map[string]float64{
		"input": p.Input, "output": p.Output, "cache_read": p.CacheRead, "cache_write_5m": p.CacheWrite5m, "cache_write_1h": p.CacheWrite1h,
		"fast": p.Fast, "batch": p.Batch, "priority": p.Priority, "flex": p.Flex, "us": p.US, "eu": p.EU, "web_search": p.WebSearch, "code_execution": p.CodeExecution,
	}[name]
}

package config

import (
	"fmt"
	"path"
)

// checkPrices looks at the patterns for models.
func (d *decoder) checkPrices(cfg *Config) {
	for i, p := range cfg.Prices {
		at := fmt.Sprintf("prices[%d].model", i)
		n, ok := d.wrote(at)
		if !ok {
			continue
		}
		if _, err := path.Match(p.Model, ""); err != nil || p.Model == "" {
			d.errorf(n.offset, at, `%s is no pattern: "*" stands for anything, "?" for one character, "[5-8]" for one of them`, n.label())
		}
	}
}

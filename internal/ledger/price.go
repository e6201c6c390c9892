package ledger

import (
	_ "embed"
	"encoding/json"
	"path"
	"strings"
	"sync"
)

// Price is the price of the tokens of some models, in dollars per million.
type Price struct {
	Model        string  `json:"model"` // pattern as of path.Match, without regard to case
	Input        float64 `json:"input"` // negative: the price of the next matching entry applies
	CacheWrite5m float64 `json:"cache_write_5m"`
	CacheWrite1h float64 `json:"cache_write_1h"`
	CacheRead    float64 `json:"cache_read"`
	Output       float64 `json:"output"`
	// Above is the size of the prompt in tokens, including cached ones, from which the price
	// applies; 0: any size.
	Above int64 `json:"above"`
	Dimensions
}

// Dimensions are the properties, besides tokens, that the price of a response depends on. A value
// that no matching table contains has no known price.
type Dimensions struct {
	Speed        map[string]float64 `json:"speed"`         // multiplier of the price of tokens, by usage.speed
	ServiceTier  map[string]float64 `json:"service_tier"`  // the same by usage.service_tier
	InferenceGeo map[string]float64 `json:"inference_geo"` // the same by usage.inference_geo
	ServerTools  map[string]float64 `json:"server_tools"`  // dollars per use, by the name in usage.server_tool_use
}

// Names in usage.server_tool_use.
const (
	WebSearch     = "web_search_requests"
	CodeExecution = "code_execution_requests"
)

// Source is where some prices come from.
type Source struct {
	Of   string `json:"of"`
	From string `json:"from"`
	Date string `json:"date"`
}

// Prices is a table of prices. The first matching entry applies. The table is immutable; it caches
// look-ups. Safe for concurrent use.
type Prices struct {
	Date    string   `json:"date"`
	Sources []Source `json:"sources"`
	Dimensions
	Models []Price `json:"models"`

	mu    sync.RWMutex
	found map[string][]fitting // by model
}

// fitting is a price that matches a model, with the tables of dimensions in the order of the
// look-up.
type fitting struct {
	price Price
	dims  []*Dimensions
}

//go:embed prices.json
var listPrices []byte

// ListPrices returns the published prices as of their Date.
func ListPrices() *Prices {
	var p Prices
	if err := json.Unmarshal(listPrices, &p); err != nil {
		panic("ledger: prices.json: " + err.Error())
	}
	return &p
}

// With returns a table in which other prices come before those of p.
func (p *Prices) With(first []Price) *Prices {
	return &Prices{Date: p.Date, Sources: p.Sources, Dimensions: p.Dimensions, Models: append(append([]Price{}, first...), p.Models...)}
}

// find returns the price of a model for a prompt of some size.
func (p *Prices) find(model string, prompt int64) (fitting, bool) {
	for _, each := range p.fitting(model) {
		if each.price.Above == 0 || prompt > each.price.Above {
			return each, true
		}
	}
	return fitting{}, false
}

// remembered bounds the models whose look-ups are cached, because names come from clients and
// upstreams.
const remembered = 1000

// fitting returns the prices for a model, including those for long prompts.
func (p *Prices) fitting(model string) []fitting {
	p.mu.RLock()
	list, known := p.found[model]
	p.mu.RUnlock()
	if known {
		return list
	}
	list = p.search(model)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil || len(p.found) >= remembered {
		p.found = map[string][]fitting{}
	}
	p.found[strings.Clone(model)] = list
	return list
}

// search looks for a model in the table. A dimension that a price lacks is looked up in the
// following prices that match as well, and finally in the table for all models.
func (p *Prices) search(model string) []fitting {
	name := strings.ReplaceAll(strings.ToLower(model), ".", "-")
	var list []fitting
	var dims []*Dimensions
	for i := range p.Models {
		each := &p.Models[i]
		if fits, _ := path.Match(strings.ToLower(each.Model), name); !fits {
			continue
		}
		for k := range list {
			list[k].dims = append(list[k].dims, &each.Dimensions)
		}
		if each.Input < 0 {
			dims = append(dims, &each.Dimensions)
			continue
		}
		list = append(list, fitting{*each, append(append([]*Dimensions{}, dims...), &each.Dimensions)})
	}
	for k := range list {
		list[k].dims = append(list[k].dims, &p.Dimensions)
	}
	return list
}

// lookup finds a value in the first table that has it.
func lookup(dims []*Dimensions, of func(*Dimensions) map[string]float64, value string) (float64, bool) {
	for _, d := range dims {
		if n, ok := of(d)[value]; ok {
			return n, true
		}
	}
	return 0, false
}

func speeds(d *Dimensions) map[string]float64 { return d.Speed }
func tiers(d *Dimensions) map[string]float64  { return d.ServiceTier }
func geos(d *Dimensions) map[string]float64   { return d.InferenceGeo }
func tools(d *Dimensions) map[string]float64  { return d.ServerTools }
